public import Pipeline

/// Limits how many bytes a second move, in all exchanges of one key together, each way on its own.
///
/// ```swift
/// Bandwidth(.bytesPerSecond(10_000_000), per: .connection)                             // each way
/// Bandwidth(up: .bytesPerSecond(1_000_000), down: .bytesPerSecond(10_000_000, burst: 4_000_000), per: .identity)
/// Bandwidth(down: .bytesPerSecond(100_000_000), per: .global)
/// ```
/// Exact: within any time no more than `burst + rate × time` moves either way, over all connections and loops. The one exception
/// is what HTTP sends unasked, heads and the framing of chunks: it is counted, and paid back before the next byte of a body.
/// Connections of one key take turns with leases of the same size; a limit that nobody else uses is all one's own.
///
/// Refuses nobody: a connection above its rate is slowed down, which its sender notices by TCP's own window. Only a key for
/// which there is no room is refused, as `overloaded`: HTTP 503, SOCKS5 reply 1, a TCP reset. Bytes are counted as
/// ``Traffic`` is: after the handshake; of HTTP the whole message on the client's side.
///
/// Costs two short locks an exchange and one a lease (50 ms' worth of bytes at most); no allocation for a known key. The
/// bytes themselves move as they would without a limit, spliced within the kernel where they can be.
public struct Bandwidth<Key: BucketKey>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Key.Carrier
  public typealias Needs = Key.Needs
  public typealias Gives = Unchanged

  private let up: ByteRate?
  private let down: ByteRate?
  private let reader: KeyReader<Key, Int>
  private let maxKeys: Int
  private let whenFull: LimitTableFull
  private let plan: BandwidthPlan
  private let noRoom: String
  private var isShadow = false
  private var table: BandwidthTable

  /// - Parameters:
  ///   - up: from clients to upstreams; `nil`: not limited.
  ///   - down: from upstreams to clients; `nil`: not limited. At least one of the two is needed; a rate out of its domain
  ///     refuses the chain when it is built.
  ///   - per: whose limit.
  ///   - maxKeys: keys that are remembered at once, those with an open connection or with a bucket that is not full: 1 to
  ///     16,777,216.
  ///   - whenFull: what happens to one more.
  public init(
    up: ByteRate? = nil, down: ByteRate? = nil, per: Per<Key>, maxKeys: Int = 50_000, whenFull: LimitTableFull = .refuse
  ) {
    self.up = up
    self.down = down
    reader = KeyReader(per, .none, seed: .process)
    self.maxKeys = maxKeys
    self.whenFull = whenFull
    plan = BandwidthPlan(up: up.map(BytePlan.init), down: down.map(BytePlan.init))
    noRoom = "no room for another key: bandwidth per \(per.label)"
    table = BandwidthTable(plan, maxKeys: maxKeys)
  }

  /// The same rate each way, each on its own.
  public init(_ rate: ByteRate, per: Per<Key>, maxKeys: Int = 50_000, whenFull: LimitTableFull = .refuse) {
    self.init(up: rate, down: rate, per: per, maxKeys: maxKeys, whenFull: whenFull)
  }

  public func through(_ exchange: Key.Carrier, _ needed: Key.Needs.Value, next: Next) async throws -> Summary {
    if isShadow { return try await next() }
    let found: LimitKey?
    if let plain = reader.plainKey(of: exchange, needed) {
      found = plain
    } else {
      found = try await reader.read(exchange, needed)?.key
    }
    guard let key = found else { return try await next() }
    guard let flow = table.enter(key, now: exchange.now.nanoseconds) else {
      switch whenFull {
      case .refuse: throw Rejection(.overloaded, detail: noRoom)
      case .admit: return try await next()
      }
    }
    exchange.attach(flow)
    defer {
      exchange.detach(flow)
      table.leave(flow, key)
    }
    return try await next()
  }
}

extension Bandwidth: Middleware where Key.Carrier == Exchange, Key.Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension Bandwidth {
  public var parameters: [Parameter] {
    var parameters: [Parameter] = []
    if let up, up == down {
      parameters.append(Parameter("each way", "\(up)"))
    } else {
      if let up { parameters.append(Parameter("up", "\(up)")) }
      if let down { parameters.append(Parameter("down", "\(down)")) }
    }
    parameters.append(Parameter("per", reader.per.label))
    return parameters
  }

  public var uses: Uses { reader.per.uses }
  public var state: AnyObject? { table }

  public func validate(into problems: inout Problems) {
    reader.validate(into: &problems) { _ in nil }
    if up == nil, down == nil { problems.refuse("neither up nor down has a rate: give at least one of them") }
    if up == down {
      if let problem = up?.problem { problems.refuse(problem) }
    } else {
      if let problem = up?.problem { problems.refuse("up: \(problem)") }
      if let problem = down?.problem { problems.refuse("down: \(problem)") }
    }
    if !(1...(1 << 24)).contains(maxKeys) { problems.refuse("maxKeys of \(maxKeys): 1 to 16,777,216 are allowed") }
  }

  /// Forgets idle buckets every minute, so that no address stays in memory longer than it has to, and says when new keys found
  /// no room.
  public func run(_ services: any BackgroundServices) async throws {
    var reported = table.turnedAway
    while true {
      try await services.sleep(for: .seconds(60))
      table.sweep(now: services.now.nanoseconds)
      let turnedAway = table.turnedAway
      if turnedAway > reported {
        services.log(
          .warning,
          "bandwidth per \(reader.per.label): no room for a new key \(turnedAway - reported) times, \(table.count) in use: raise maxKeys"
        )
        reported = turnedAway
      }
    }
  }

  /// Open connections keep their leases and get the new rate with the next one. A bucket keeps the share of it that was used;
  /// it is never filled up. `maxKeys` takes effect at the next start.
  public mutating func adopt(from old: Self) {
    table = old.table
    table.change(to: plan)
  }

  /// In shadow it limits nothing, and there is nothing to record: it refuses nobody.
  public func shadow(_ record: @escaping @Sendable (Rejection) -> Void = { _ in }) -> Self {
    var copy = self
    copy.isShadow = true
    return copy
  }
}

/// One limit per connection of a client. HTTP requests on a kept connection share it.
public enum ConnectionKey: BucketKey {}

extension Per where Key == ConnectionKey {
  /// One limit for each connection of a client. HTTP requests on a kept connection share it.
  public static var connection: Self {
    Per(.custom { exchange, _ in LimitKey(hashing: exchange.connectionID) }, "connection")
  }
}
