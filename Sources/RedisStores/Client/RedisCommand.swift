/// A command with its arguments, ready for the wire.
///
/// ```swift
/// RedisCommand("SET", .key("count"), 1, "PX", 60_000)
/// ```
/// The first `.key` says which node of a cluster it is for; a command without a key goes to any. It describes itself by its
/// name alone: arguments may be secrets.
public struct RedisCommand: Sendable, CustomStringConvertible {
  /// `GET`, `EVALSHA`.
  public let name: String
  let bytes: [UInt8]
  let slot: HashSlot?

  /// - Parameters:
  ///   - name: one word, as in `CLUSTER SLOTS`'s `CLUSTER`; further words are arguments.
  ///   - words: the arguments, in the order of the command.
  public init(_ name: String, _ words: RedisWord...) { self.init(name, words: words) }

  public init(_ name: String, words: [RedisWord]) {
    self.name = name
    var bytes: [UInt8] = []
    bytes.reserveCapacity(32 + name.utf8.count + 32 * words.count)
    RESPSerializer.commandHead(words.count + 1, to: &bytes)
    RESPSerializer.string(name.utf8, to: &bytes)
    var slot: HashSlot?
    for word in words {
      switch word.kind {
      case .text(let text): RESPSerializer.string(text.utf8, to: &bytes)
      case .bytes(let word): RESPSerializer.string(word, to: &bytes)
      case .integer(let number): RESPSerializer.number(Int(number), to: &bytes)
      case .key(let key):
        slot = slot ?? HashSlot(of: key)
        RESPSerializer.string(key, to: &bytes)
      }
    }
    self.bytes = bytes
    self.slot = slot
  }

  /// A command that was written elsewhere.
  init(_ name: String, bytes: [UInt8], slot: HashSlot?) {
    self.name = name
    self.bytes = bytes
    self.slot = slot
  }

  public var description: String { name }
}

/// One argument of a command.
public struct RedisWord: Sendable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
  enum Kind: Sendable {
    case text(String)
    case bytes([UInt8])
    case integer(Int64)
    case key([UInt8])
  }

  let kind: Kind

  private init(_ kind: Kind) { self.kind = kind }

  public init(stringLiteral value: String) { kind = .text(value) }
  public init(integerLiteral value: Int64) { kind = .integer(value) }

  public static func text(_ text: String) -> RedisWord { RedisWord(.text(text)) }
  public static func bytes(_ bytes: [UInt8]) -> RedisWord { RedisWord(.bytes(bytes)) }
  public static func integer(_ number: some BinaryInteger) -> RedisWord { RedisWord(.integer(Int64(clamping: number))) }

  /// A key: what decides about the node of a cluster.
  public static func key(_ key: [UInt8]) -> RedisWord { RedisWord(.key(key)) }
  /// A key: what decides about the node of a cluster.
  public static func key(_ key: String) -> RedisWord { RedisWord(.key(Array(key.utf8))) }
}
