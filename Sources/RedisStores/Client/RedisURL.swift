public import Pipeline

/// Where a Redis is and how to log in: `redis://[user:password@]host[:port][/db]`, `unix:///path`,
/// `redis-cluster://host:port,host:port`.
///
/// ```
/// redis://127.0.0.1:6379/2            redis://:secret@cache.internal
/// unix:///run/redis.sock?db=1         redis-cluster://app:secret@10.0.0.1:7000,10.0.0.2:7000
/// ```
/// Characters that mean something in a URL are written as `%40` and so on in user and password. It describes itself without
/// the password.
public struct RedisURL: Sendable, CustomStringConvertible {
  /// One server, as it is dialled.
  public enum Node: Hashable, Sendable, CustomStringConvertible {
    case endpoint(Endpoint)
    /// The path of a Unix socket.
    case unix(String)

    public var description: String {
      switch self {
      case .endpoint(let endpoint): endpoint.description
      case .unix(let path): "unix:\(path)"
      }
    }
  }

  /// The server; of a cluster the nodes that are asked for the others, at least one.
  public let nodes: [Node]
  public let isCluster: Bool
  /// `nil`: the server's user "default".
  public let user: String?
  public let password: Secret<String>?
  /// 0 where none is named; a cluster has no other.
  public let database: Int

  public init(
    _ nodes: [Node], isCluster: Bool = false, user: String? = nil, password: Secret<String>? = nil, database: Int = 0
  ) {
    precondition(!nodes.isEmpty, "a RedisURL names at least one server")
    self.nodes = nodes
    self.isCluster = isCluster
    self.user = user
    self.password = password
    self.database = database
  }

  /// - Throws: ``RedisURLError``, one sentence: what is wrong, and what is allowed. It never holds the password.
  public init(_ text: String) throws(RedisURLError) {
    if text.hasPrefix("redis://") {
      try self.init(rest: text.dropFirst(8), isCluster: false)
    } else if text.hasPrefix("redis-cluster://") {
      try self.init(rest: text.dropFirst(16), isCluster: true)
    } else if text.hasPrefix("unix://") {
      try self.init(unix: text.dropFirst(7))
    } else if text.hasPrefix("rediss://") {
      throw RedisURLError("rediss://: TLS is not spoken; allowed are \(Self.syntax)")
    } else {
      let scheme = text.split(separator: ":", maxSplits: 1).first.map { String($0.prefix(32)) } ?? ""
      throw RedisURLError("a URL that begins with \"\(scheme)\"; allowed are \(Self.syntax)")
    }
  }

  private static let syntax =
    "redis://[user:password@]host[:port][/db], unix:///path[?db=N] and redis-cluster://[user:password@]host:port,host:port"

  private init(rest: Substring, isCluster: Bool) throws(RedisURLError) {
    var rest = rest
    var login: (user: String?, password: Secret<String>?) = (nil, nil)
    if let at = rest.lastIndex(of: "@") {
      login = try Self.login(rest[..<at])
      rest = rest[rest.index(after: at)...]
    }
    var database = 0
    if let slash = rest.firstIndex(of: "/") {
      let number = rest[rest.index(after: slash)...]
      if !number.isEmpty { database = try Self.database(number) }
      rest = rest[..<slash]
    }
    if isCluster, database != 0 { throw RedisURLError("database \(database): a cluster has database 0 only") }
    var nodes: [Node] = []
    for name in rest.split(separator: ",", omittingEmptySubsequences: false) {
      nodes.append(.endpoint(try Self.endpoint(String(name))))
    }
    if !isCluster, nodes.count > 1 {
      throw RedisURLError("\(nodes.count) servers in a redis:// URL: one is allowed; a cluster is redis-cluster://")
    }
    self.init(nodes, isCluster: isCluster, user: login.user, password: login.password, database: database)
  }

  private init(unix rest: Substring) throws(RedisURLError) {
    var path = rest
    var database = 0
    if let question = rest.firstIndex(of: "?") {
      path = rest[..<question]
      let query = rest[rest.index(after: question)...]
      guard query.hasPrefix("db=") else {
        throw RedisURLError("\"?\(query)\" after a Unix socket; allowed is ?db=N")
      }
      database = try Self.database(query.dropFirst(3))
    }
    guard path.hasPrefix("/"), case .unix(let checked)? = SocketAddress("unix:\(path)") else {
      throw RedisURLError(
        "the Unix socket \"\(path)\"; allowed is an absolute path of at most 107 bytes: unix:///run/redis.sock")
    }
    self.init([.unix(checked)], database: database)
  }

  private static func login(_ text: Substring) throws(RedisURLError) -> (String?, Secret<String>?) {
    // The text itself is not quoted: the password is in it.
    guard let colon = text.firstIndex(of: ":") else {
      throw RedisURLError("a user without a password before the \"@\"; allowed are user:password@ and :password@")
    }
    guard let user = decoded(text[..<colon]), let password = decoded(text[text.index(after: colon)...]) else {
      throw RedisURLError("a \"%\" in user or password that is not followed by two hexadecimal digits")
    }
    if password.isEmpty {
      throw RedisURLError("an empty password before the \"@\"; leave user and password out instead")
    }
    return (user.isEmpty ? nil : user, Secret(password))
  }

  private static func database(_ text: Substring) throws(RedisURLError) -> Int {
    guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
      let number = Int(text), number <= 65_535
    else { throw RedisURLError("the database \"\(text.prefix(32))\"; allowed are 0...65535") }
    return number
  }

  private static func endpoint(_ text: String) throws(RedisURLError) -> Endpoint {
    let named = Endpoint(text) ?? unported(text).map { Endpoint($0, port: 6379) }
    guard let named, named.port != 0 else {
      throw RedisURLError(
        "the server \"\(text.prefix(300))\"; allowed are host, host:port and [::1]:port with a port of 1...65535")
    }
    return named
  }

  private static func unported(_ text: String) -> Host? {
    if text.hasPrefix("["), text.hasSuffix("]") { return Host(String(text.dropFirst().dropLast())) }
    return text.contains(":") ? nil : Host(text)
  }

  private static func decoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else { return nil }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 65...70: byte - 55
    case 97...102: byte - 87
    default: nil
    }
  }

  public var description: String {
    if !isCluster, case .unix(let path) = nodes[0] {
      return "unix://\(path)" + (database == 0 ? "" : "?db=\(database)")
    }
    let login = password == nil ? "" : "\(user ?? ""):***@"
    let list = nodes.map(\.description).joined(separator: ",")
    return "\(isCluster ? "redis-cluster" : "redis")://\(login)\(list)" + (database == 0 ? "" : "/\(database)")
  }
}

/// What is wrong with the URL of a Redis, in one sentence without its password.
public struct RedisURLError: Error, Hashable, Sendable, CustomStringConvertible {
  public let message: String

  init(_ message: String) { self.message = message }

  public var description: String { message }
}
