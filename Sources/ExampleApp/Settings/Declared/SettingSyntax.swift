import Pipeline

/// What became of a text.
enum SettingReading<Value> {
  case value(Value)
  /// It is not what is allowed.
  case notAllowed
  /// It is understood, and cannot be had: a sentence that says what to do. It does not repeat the text, which may hold a password.
  case refused(String)
}

/// How a kind of value is written: one reader, one way back, and one "allowed" for sentences, help and documentation.
struct SettingSyntax<Value: Sendable>: Sendable {
  /// In a word, for the documentation: `time`.
  let type: String
  /// In the usage of a flag: `TIME`.
  let placeholder: String
  /// The range, with unit and an example.
  let allowed: String
  let read: @Sendable (String) -> SettingReading<Value>
  let show: @Sendable (Value) -> String

  init(
    _ type: String, _ placeholder: String, allowed: String, read: @escaping @Sendable (String) -> SettingReading<Value>,
    show: @escaping @Sendable (Value) -> String
  ) {
    self.type = type
    self.placeholder = placeholder
    self.allowed = allowed
    self.read = read
    self.show = show
  }
}

extension SettingSyntax where Value == Int {
  static func count(_ range: ClosedRange<Int>) -> Self {
    SettingSyntax(
      "number", "N", allowed: "a whole number, \(range.lowerBound) to \(range.upperBound)",
      read: { readInt($0, in: range).map { .value($0) } ?? .notAllowed }, show: { "\($0)" })
  }
}

extension SettingSyntax where Value == Bool {
  static var flag: Self {
    SettingSyntax(
      "true or false", "BOOL", allowed: "true or false",
      read: { text in
        switch text.lowercased() {
        case "true", "yes", "on": .value(true)
        case "false", "no", "off": .value(false)
        default: .notAllowed
        }
      }, show: { "\($0)" })
  }
}

extension SettingSyntax where Value == Duration {
  static func time(_ range: ClosedRange<Duration>) -> Self {
    SettingSyntax(
      "time", "TIME",
      allowed: "\(written(range.lowerBound)) to \(written(range.upperBound)), with its unit: 500ms, 30s, 5m, 1h30m",
      read: { readTime($0).flatMap { range.contains($0) ? .value($0) : nil } ?? .notAllowed }, show: written)
  }
}

extension SettingSyntax where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
  /// One of a few words; `_` may stand for `-`, and letters may be capital.
  static func choice(_ placeholder: String) -> Self {
    let words = Value.allCases.map(\.rawValue)
    return SettingSyntax(
      "word", placeholder, allowed: "one of \(words.joined(separator: ", "))",
      read: { text in
        let word = text.lowercased().replacing("_", with: "-")
        return Value(rawValue: word).map { .value($0) } ?? .notAllowed
      }, show: { $0.rawValue })
  }
}

extension SettingSyntax where Value == String {
  /// A path of HTTP's origin form (RFC 9112, 3.2.1).
  static var path: Self {
    SettingSyntax(
      "path", "PATH", allowed: "a path that begins with / and holds no blank and no #: /health",
      read: { text in
        let isPath =
          text.hasPrefix("/") && text.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != UInt8(ascii: "#") }
        return isPath && text.utf8.count <= 2048 ? .value(text) : .notAllowed
      }, show: { $0 })
  }
}

extension SettingSyntax where Value == String {
  static var socketPath: Self {
    SettingSyntax(
      "path", "PATH|off", allowed: "a path of 1 to 107 bytes for a socket, or off",
      read: { $0 == "off" || SocketAddress("unix:\($0)") != nil ? .value($0) : .notAllowed }, show: { $0 })
  }
}

extension SettingSyntax where Value == Secret<String> {
  /// Never shown: not in a list of values, not in a sentence about it.
  static var secret: Self {
    SettingSyntax(
      "secret", "TEXT", allowed: "1 to 256 bytes; best ${NAME} of a variable",
      read: { text in
        (1...256).contains(text.utf8.count) ? .value(Secret(text)) : .refused("it has to have 1 to 256 bytes")
      }, show: { _ in "(secret)" })
  }
}

extension SettingSyntax where Value == SocketAddress {
  static var listening: Self {
    SettingSyntax(
      "address", "ADDR",
      allowed: ":PORT for every IPv4 address, IP:PORT (127.0.0.1:8080, [::]:8080), localhost:PORT, or unix:/path",
      read: { text in
        let isLocal = text.hasPrefix("localhost:")
        guard let address = SocketAddress(isLocal ? "127.0.0.1:\(text.dropFirst(10))" : text) else {
          return .notAllowed
        }
        return .value(address)
      }, show: { "\($0)" })
  }
}

extension SettingSyntax where Value == CIDR {
  static var block: Self {
    SettingSyntax(
      "list of addresses", "BLOCK", allowed: "an address or a block of them: 10.0.0.7, 10.0.0.0/8, fd00::/8",
      read: { CIDR($0).map { .value($0) } ?? .notAllowed }, show: { "\($0)" })
  }
}

/// Where operators ask over TCP.
enum OperatorAddress: Sendable, Equatable {
  case off
  case ip(SocketAddress)
}

extension SettingSyntax where Value == OperatorAddress {
  static var operators: Self {
    SettingSyntax(
      "address", "ADDR|off", allowed: "IP:PORT (127.0.0.1:9901, [::1]:9901), localhost:PORT, :PORT, or off",
      read: { text in
        if text == "off" { return .value(.off) }
        guard case .value(let address) = SettingSyntax<SocketAddress>.listening.read(text), case .ip = address else {
          return .notAllowed
        }
        return .value(.ip(address))
      },
      show: { address in
        switch address {
        case .off: "off"
        case .ip(let address): "\(address)"
        }
      })
  }
}

extension SettingSyntax where Value == DomainName {
  static var host: Self {
    SettingSyntax(
      "list of hosts", "NAME", allowed: "the name of a host: proxy.internal",
      read: { DomainName($0).map { .value($0) } ?? .notAllowed }, show: { "\($0)" })
  }
}

extension SettingSyntax where Value == TokenRate {
  static var tokenRate: Self {
    SettingSyntax(
      "rate", "RATE", allowed: "tokens a second, 0.001 to 1000000, at most three digits behind the point: 10, 0.5",
      read: { TokenRate($0).map { .value($0) } ?? .notAllowed }, show: { "\($0)" })
  }
}

/// For what this program does not have yet: it is known, so that nobody looks for a slip of the pen, and says so.
struct Absent: Sendable {}

extension SettingSyntax where Value == Absent {
  /// - Parameters:
  ///   - off: values that ask for nothing.
  ///   - why: what to do in its place.
  static func notYet(off: [String], why: String) -> Self {
    SettingSyntax(
      "not yet", "", allowed: off.isEmpty ? "nothing" : off.joined(separator: ", "),
      read: { off.contains($0.lowercased()) ? .value(Absent()) : .refused(why) }, show: { _ in "-" })
  }
}

/// Tokens a second, to a thousandth.
struct TokenRate: Sendable, Equatable, CustomStringConvertible {
  let thousandths: Int

  /// - Returns: `nil` for what is no number from 0.001 to 1,000,000.
  init?(_ text: String) {
    let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard let whole = parts.first, let seconds = readInt(whole, in: 0...1_000_000) else { return nil }
    var rest = 0
    if parts.count == 2 {
      guard (1...3).contains(parts[1].utf8.count), let digits = readInt(parts[1], in: 0...999) else { return nil }
      rest = digits * [100, 10, 1][parts[1].utf8.count - 1]
    }
    let sum = seconds * 1000 + rest
    guard (1...1_000_000_000).contains(sum) else { return nil }
    thousandths = sum
  }

  var description: String {
    var text = "\(thousandths / 1000)"
    var rest = thousandths % 1000
    guard rest > 0 else { return text }
    var digits = 3
    while rest % 10 == 0 {
      rest /= 10
      digits -= 1
    }
    text += "." + String(repeating: "0", count: digits - "\(rest)".count) + "\(rest)"
    return text
  }
}

/// `500ms`, `30s`, `1h30m`: whole numbers with units from hours down to milliseconds, each at most once.
func readTime(_ text: String) -> Duration? {
  let units: [(name: Substring, milliseconds: Int64)] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
  var rest = text[...]
  var next = 0
  var sum: Int64 = 0
  repeat {
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    rest = rest.dropFirst(digits.count)
    let word = rest.prefix { $0.isLetter }
    rest = rest.dropFirst(word.count)
    guard let count = Int64(digits), let place = units[next...].firstIndex(where: { $0.name == word }) else {
      return nil
    }
    let (part, overflow) = count.multipliedReportingOverflow(by: units[place].milliseconds)
    let (total, tooMuch) = sum.addingReportingOverflow(part)
    if overflow || tooMuch { return nil }
    sum = total
    next = place + 1
  } while !rest.isEmpty
  return .milliseconds(sum)
}

/// As `readTime` reads it.
@Sendable func written(_ time: Duration) -> String {
  let (seconds, attoseconds) = time.components
  let parts: [(Int64, String)] = [
    (seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s"), (attoseconds / 1_000_000_000_000_000, "ms"),
  ]
  let text = parts.filter { $0.0 != 0 }.map { "\($0.0)\($0.1)" }.joined()
  return text.isEmpty ? "0s" : text
}
