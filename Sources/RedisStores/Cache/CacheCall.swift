internal import Pipeline

/// Writes the operations of ``RedisCache`` for the wire, each in one piece.
struct CacheCall: Sendable {
  /// The largest number that Lua counts exactly.
  static let largest = 1 << 53 - 1

  private let prefix: [UInt8]
  private let probePrefix: [UInt8]

  init(prefix: String) {
    self.prefix = Array("\(prefix):".utf8)
    probePrefix = Array("\(prefix)-probe:".utf8)
  }

  /// `prefix:{group}name`. The braces are the hash tag that keeps a group on one node of a cluster; a tag ends at the first
  /// closing brace and an empty one is none, so `%` and `}` are escaped and an empty group is written as a lone `%`.
  func key(_ key: CacheKey) -> [UInt8] { Self.key(prefix, key.group, key.name) }

  private static func key(_ prefix: [UInt8], _ group: String, _ name: String) -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(prefix.count + group.utf8.count + name.utf8.count + 8)
    out += prefix
    out.append(UInt8(ascii: "{"))
    if group.isEmpty { out.append(UInt8(ascii: "%")) }
    for byte in group.utf8 {
      switch byte {
      case UInt8(ascii: "%"): out += "%25".utf8
      case UInt8(ascii: "}"): out += "%7D".utf8
      default: out.append(byte)
      }
    }
    out.append(UInt8(ascii: "}"))
    out += name.utf8
    return out
  }

  // MARK: Operations

  /// A script with its keys and arguments; `withSource` for a server that does not know it.
  struct Request: Sendable {
    private let script: RedisScript
    /// What follows the script's name or text: keys and arguments.
    private let rest: [UInt8]
    private let words: Int
    private let slot: HashSlot

    init(_ script: RedisScript, keys: [[UInt8]], arguments: Int, _ write: (inout [UInt8]) -> Void) {
      self.script = script
      words = 3 + keys.count + arguments
      slot = HashSlot(of: keys[0])
      var rest: [UInt8] = []
      rest.reserveCapacity(keys.reduce(32 + 24 * arguments) { $0 + $1.count + 12 })
      RESPSerializer.number(keys.count, to: &rest)
      for key in keys { RESPSerializer.string(key, to: &rest) }
      write(&rest)
      self.rest = rest
    }

    var command: RedisCommand { command("EVALSHA", script.digest) }
    var withSource: RedisCommand { command("EVAL", script.source) }

    private func command(_ name: String, _ script: String) -> RedisCommand {
      var bytes: [UInt8] = []
      bytes.reserveCapacity(rest.count + script.utf8.count + 48)
      RESPSerializer.commandHead(words, to: &bytes)
      RESPSerializer.string(name.utf8, to: &bytes)
      RESPSerializer.string(script.utf8, to: &bytes)
      bytes += rest
      return RedisCommand(name, bytes: bytes, slot: slot)
    }
  }

  func add(_ delta: Int, _ counter: CacheKey, _ guardKey: CacheKey?, _ lifetime: CacheLifetime) -> Request {
    let keys = guardKey.map { [key(counter), key($0)] } ?? [key(counter)]
    return Request(CacheScript.add, keys: keys, arguments: 2) { out in
      RESPSerializer.number(delta, to: &out)
      RESPSerializer.number(Self.code(lifetime), to: &out)
    }
  }

  func replace(_ name: CacheKey, _ expected: [UInt8]?, _ new: [UInt8]?, _ lifetime: CacheLifetime) -> Request {
    Request(CacheScript.replace, keys: [key(name)], arguments: 5) { out in
      for value in [expected, new] {
        RESPSerializer.number(value == nil ? 0 : 1, to: &out)
        RESPSerializer.string(value ?? [], to: &out)
      }
      RESPSerializer.number(Self.code(lifetime), to: &out)
    }
  }

  func take(_ counters: [CacheTake]) -> Request {
    Request(CacheScript.take, keys: counters.map { key($0.key) }, arguments: 3 * counters.count) { out in
      for counter in counters {
        let limit = min(max(counter.limit, 0), Self.largest)
        // Whatever is above the limit is refused; what it is need not be exact.
        RESPSerializer.number(min(max(counter.cost, -Self.largest), limit + 1), to: &out)
        RESPSerializer.number(limit, to: &out)
        RESPSerializer.number(Self.code(counter.lifetime), to: &out)
      }
    }
  }

  /// A write to a key that nobody uses, on the node where `group` lies: it needs everything that an operation needs.
  func probe(_ group: String) -> Request {
    let lifetime = CacheLifetime.fromChange(.seconds(60))
    return Request(CacheScript.add, keys: [Self.key(probePrefix, group, "")], arguments: 2) { out in
      RESPSerializer.number(0, to: &out)
      RESPSerializer.number(Self.code(lifetime), to: &out)
    }
  }

  private static func code(_ lifetime: CacheLifetime) -> Int {
    switch lifetime {
    case .forever: 0
    case .fromCreation: Int(lifetime.milliseconds ?? 0)
    case .fromChange: -Int(lifetime.milliseconds ?? 0)
    }
  }
}
