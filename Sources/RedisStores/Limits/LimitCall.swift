internal import Middlewares
internal import Pipeline

/// One call of the limit's script, written for the wire in one piece.
struct LimitCall: Sendable {
  enum Operation: String, Sendable {
    case take, peek, refund, set
  }

  private static let words = 13
  private let algorithm: String
  /// Up to the key.
  private let head: [UInt8]
  private let prefix: [UInt8]
  private let keep: Int

  init(_ kind: LimitAlgorithmKind, _ name: String, _ options: RedisLimitOptions) {
    algorithm = Self.letter(kind)
    var head: [UInt8] = []
    RESPSerializer.commandHead(Self.words, to: &head)
    RESPSerializer.string("EVALSHA".utf8, to: &head)
    RESPSerializer.string(LimitScript.script.digest.utf8, to: &head)
    RESPSerializer.string("1".utf8, to: &head)
    self.head = head
    // The algorithm is part of the key: what one algorithm keeps means nothing to another.
    prefix = Array("\(options.prefix):\(name):\(Self.letter(kind)):".utf8)
    keep = Int(clamping: options.keepIdle.nanosecondsClamped / 1_000_000)
  }

  private static func letter(_ kind: LimitAlgorithmKind) -> String {
    switch kind {
    case .tokenBucket(.continuous), .gcra: "b"
    case .leakyBucket: "s"
    case .tokenBucket(.wholeInterval): "i"
    case .fixedWindow: "f"
    case .slidingWindowCounter: "c"
    case .slidingLog: "l"
    }
  }

  /// - Parameters:
  ///   - want: tokens that are taken at most; at least the cost.
  ///   - own: the key's own rate, by the caller; `nil`: by what is kept, or the store's.
  func command(
    _ operation: Operation, _ key: LimitKey, cost: Int, want: Int, _ own: Rate?, _ standard: Rate
  ) -> RedisCommand {
    let rate = own ?? standard
    var name = prefix
    name.reserveCapacity(prefix.count + 32)
    Self.hexadecimal(key.high, to: &name)
    Self.hexadecimal(key.low, to: &name)
    var bytes = head
    bytes.reserveCapacity(head.count + name.count + 160)
    RESPSerializer.string(name, to: &bytes)
    RESPSerializer.string(operation.rawValue.utf8, to: &bytes)
    RESPSerializer.string(algorithm.utf8, to: &bytes)
    for number in [cost, want, rate.count, Self.microseconds(rate), rate.burst, own == nil ? 0 : 1, keep] {
      RESPSerializer.number(number, to: &bytes)
    }
    return RedisCommand("EVALSHA", bytes: bytes, slot: HashSlot(of: name))
  }

  /// The same call with the script itself, for a server that does not know it.
  func withSource(_ command: RedisCommand) -> RedisCommand {
    var bytes: [UInt8] = []
    RESPSerializer.commandHead(Self.words, to: &bytes)
    RESPSerializer.string("EVAL".utf8, to: &bytes)
    RESPSerializer.string(LimitScript.script.source.utf8, to: &bytes)
    RESPSerializer.string("1".utf8, to: &bytes)
    bytes += command.bytes[head.count...]
    return RedisCommand("EVAL", bytes: bytes, slot: command.slot)
  }

  /// Rounded up: a period that is no whole number of microseconds makes the limit a trifle stricter.
  private static func microseconds(_ rate: Rate) -> Int {
    Int((rate.period.nanosecondsClamped + 999) / 1000)
  }

  private static func hexadecimal(_ word: UInt64, to out: inout [UInt8]) {
    for shift in stride(from: 60, through: 0, by: -4) {
      let digit = UInt8(truncatingIfNeeded: word >> UInt64(shift)) & 15
      out.append(digit < 10 ? 48 + digit : 87 + digit)
    }
  }

  /// Why the script cannot count this rate.
  func problem(with rate: Rate) -> String? {
    guard algorithm == "b" || algorithm == "s" else { return nil }
    let period = Self.microseconds(rate)
    var (a, b) = (rate.count, period)
    while b > 0 { (a, b) = (b, a % b) }
    let (capacity, overflow) = (period / max(a, 1)).multipliedReportingOverflow(by: rate.burst)
    if !overflow, capacity <= 1 << 52 { return nil }
    return
      "\(rate), in Redis: its numbers are too large to be counted exactly there; a smaller burst, a shorter period or a "
      + "rounder count is allowed"
  }
}

/// What the script answers.
struct LimitAnswer: Sendable {
  /// Tokens that were taken, or that fit; `nil`: refused.
  let granted: Int?
  private let limit: Int
  private let remaining: Int
  private let reset: Int64
  private let retry: Int64
  private let delay: Int64

  /// `nil` when it is no such answer.
  init?(_ reply: RESPValue) {
    guard let elements = reply.elements, elements.count == 6 else { return nil }
    let numbers = elements.compactMap(\.integer)
    guard numbers.count == 6 else { return nil }
    granted = numbers[0] < 0 ? nil : Int(numbers[0])
    (limit, remaining) = (Int(numbers[1]), Int(numbers[2]))
    (reset, retry, delay) = (numbers[3], numbers[4], numbers[5])
  }

  func decision(cost: Int) -> LimitDecision {
    let isAllowed = granted != nil
    return LimitDecision(
      isAllowed: isAllowed, limit: limit, remaining: remaining + max(0, (granted ?? 0) - cost),
      reset: .microseconds(reset),
      retryAfter: isAllowed ? .zero : retry < 0 ? LimitDecision.never : .microseconds(retry),
      delay: isAllowed ? .microseconds(delay) : .zero)
  }
}
