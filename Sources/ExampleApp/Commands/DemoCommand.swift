import Glibc
import JWTAuthentication
import Middlewares
import Pipeline
import ScryptPasswords
import Transports

/// The gateway with users, upstreams and everything, to try at once.
struct DemoCommand: Command {
  static let name = "demo"
  static let summary = "the whole system with built-in origins and a demo user, loopback only"
  static let flags: [Flag] =
    [AdminSettings.flag] + AdminSettings.httpFlags + [LedgerSettings.demoFlag] + QuotaSettings.flags
    + CacheSettings.flags + ServiceSettings.flags
    + HTTPSettings.flags
  static let examples = ["ExampleApp demo", "ExampleApp demo --log json"]

  static let user = "fierceRabbit"
  static let password = "secretThicket"
  static let token = "quietFoxHiddenBurrow"

  let settings: ServiceSettings
  let http: HTTPSettings
  private let accounting: Accounting
  private let ledger: LedgerSettings
  private let flags: ParsedFlags
  private let adminHTTP: AdminListener.Place?

  init(_ flags: ParsedFlags) throws {
    self.flags = flags
    ledger = try LedgerSettings(flags)
    accounting = Accounting(
      try QuotaSettings(flags), ledger: try ledger.makeForServer(), cache: try CacheSettings(flags))
    settings = try ServiceSettings(flags)
    http = try HTTPSettings(flags)
    adminHTTP = try AdminSettings.http(flags)
  }

  func run() async throws -> Int32 {
    let verifier = Scrypt()
    let user = try UserTable.User(name: Self.user, password: Self.password, hashedBy: verifier)
    let users = try UserSettings([user], verifier: verifier)
    guard let table = users.table else { preconditionFailure("there is a user") }
    try ledger.prepare()
    defer { accounting.writer?.ledger.close() }
    let tokens = try TokenTable([TokenTable.Token(Self.token, user: Self.user)])
    let log = settings.makeLog()
    let desk = AdminDesk(accounting, users: users, sources: [log])
    if let warning = AdminSettings.warning(about: adminHTTP) { printError("warning: \(warning)") }
    let gateway = Gateway(
      socks5: both(8001), tcp: both(9000), reverse: both(8080), forward: both(8002), upstream: "127.0.0.1:8082",
      origin: "127.0.0.1:8081", users: table, tokens: tokens,
      issuer: .url(HTTPOrigin("127.0.0.1:8081"), "/jwks.json"), accounting: accounting, log: log, settings: settings,
      http: http)
    let admin = try AdminSettings.path(flags, makesDirectory: true)
    var parts: [any Proxy] = [gateway.body, origins]
    if let admin { parts.append(AdminListener(place: .socket(admin), desk: desk).body) }
    if let adminHTTP { parts.append(AdminListener(place: adminHTTP, desk: desk).body) }
    let app = Proxies(parts)
    // The chains of 127.0.0.1 and of ::1 are the same: one drawing is enough.
    var drawn = gateway
    drawn.socks5.removeLast(drawn.socks5.count - 1)
    drawn.tcp.removeLast(drawn.tcp.count - 1)
    drawn.reverse.removeLast(drawn.reverse.count - 1)
    drawn.forward.removeLast(drawn.forward.count - 1)
    let plan = try Plan(of: drawn.body).drawn(as: .text)
    return try await serve(app, settings, log: log, desk: desk) { listening in
      printNow(introduction(listening, plan: plan, admin: admin))
    }
  }

  /// What the demo proxies to.
  @ProxyBuilder private var origins: some Proxy {
    let hello = Hello()
    for address in both(8081) {
      Listener(.http, on: address.description, name: "hello") {
      } to: {
        Route("/jwks.json", to: { Respond(200, DemoIssuer.keys, contentType: "application/jwk-set+json") })
        Route("/jwt-token", to: { Respond(200, DemoIssuer.token) })
        hello
      }
    }
    for address in both(8082) {
      Listener(.tcp, on: address.description, name: "echo") {
      } to: {
        Echo()
      }
    }
  }

  /// The port on 127.0.0.1 and, where this machine has it, on ::1.
  private func both(_ port: UInt16) -> [SocketAddress] {
    let v4 = SocketAddress.ip(.loopbackV4, port: port)
    return hasIPv6Loopback ? [v4, .ip(.loopbackV6, port: port)] : [v4]
  }

  private func introduction(_ listening: [ListenerInfo], plan: String, admin: String?) -> String {
    let width = listening.map(\.name.count).max() ?? 0
    let table = listening.map { "  \($0.name.padding(to: width))  \($0.transport) on \($0.address)" }
    return """
      Sluice demo. It listens on this machine only:
      \(table.joined(separator: "\n"))

      \(plan)
      Try, in another terminal:
        curl --socks5 socks5://\(Self.user):\(Self.password)@localhost:8001 http://localhost:8081/
        curl --socks5-hostname \(Self.user):\(Self.password)@localhost:8001 http://localhost:8081/hello
        curl --socks5-hostname \(Self.user):wrong@localhost:8001 http://localhost:8081/    # refused: wrong password
        curl http://localhost:8080/                       # HTTP reverse, to the built-in origin
        curl -i http://localhost:8080/cached/page         # twice: the answer's number stays for ten seconds
        curl -i http://localhost:8080/limited             # says what is left; the fourth within ten seconds gets a 429
        curl -i -u \(Self.user):\(Self.password) http://localhost:8080/quota   # five a minute for each user, then a 429
        curl -i http://localhost:8080/protected           # 401
        curl -u \(Self.user):\(Self.password) http://localhost:8080/protected
        curl -i http://localhost:8080/token               # 401: a bearer token is needed
        curl -H "authorization: Bearer \(Self.token)" http://localhost:8080/token
        curl -H "authorization: Bearer $(curl -s http://localhost:8081/jwt-token)" http://localhost:8080/jwt
        curl -i -H "authorization: Bearer $(curl -s http://localhost:8081/jwt-token)" http://localhost:8080/jwt/write  # 403
        curl -x http://\(Self.user):\(Self.password)@localhost:8002 http://localhost:8081/      # HTTP forward
        curl -p -x http://\(Self.user):\(Self.password)@localhost:8002 http://localhost:8081/   # the same through CONNECT
        curl -i -x http://localhost:8002 http://localhost:8081/                           # 407
        printf 'hello\\n' | nc -N localhost 9000                                           # raw TCP, to the echo
      \(admin.map(operation) ?? "")\(watching(listening) ?? "")
      Ctrl-C stops it. One line follows for each exchange.

      """
  }
}

/// Lines to try for an operator.
private func operation(_ admin: String) -> String {
  """
    curl --unix-socket \(admin) http://sluice/stats   # the admin socket, for its owner alone
    curl --unix-socket \(admin) http://sluice/chain   # what runs, with what each element has counted
    ExampleApp fetchUserStats \(DemoCommand.user) --admin \(admin)
    ExampleApp fetchGlobalStats --json --admin \(admin)
    ExampleApp users block \(DemoCommand.user) --admin \(admin)   # and unblock, reset

  """
}

/// Lines to try for who watches.
private func watching(_ listening: [ListenerInfo]) -> String? {
  guard let admin = listening.first(where: { $0.name == AdminListener.httpName }) else { return nil }
  return """
      curl http://\(admin.address)/metrics     # for Prometheus
      curl -i http://\(admin.address)/readyz   # 503 from the moment in which it is stopped

    """
}

/// Whether a socket can be bound to ::1 (containers often have no IPv6).
private let hasIPv6Loopback: Bool = {
  let socket = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
  guard socket >= 0 else { return false }
  defer { close(socket) }
  var address = sockaddr_in6()
  address.sin6_family = sa_family_t(AF_INET6)
  address.sin6_addr = in6addr_loopback
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in6>.size)) == 0
    }
  }
}()
