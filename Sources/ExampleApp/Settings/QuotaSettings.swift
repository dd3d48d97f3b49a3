import Glibc
import Middlewares
import Pipeline

/// What users may use: `--quota requests=100/day --plan gold:requests=1000/day --zone Europe/Berlin`.
struct QuotaSettings: Sendable {
  static let flags: [Flag] = [
    .list("quota", "WHAT=N/WINDOW,…", "what each user may use: \(quotaExamples); may be given more than once"),
    .list("plan", "NAME:WHAT=N/WINDOW,…", "other amounts, for users who are given this plan: gold:requests=1000/day"),
    .value(
      "quota-exhausted", "refuse|close|throttle:RATE",
      "refuse what is new, end what is open, too, or go on slowly: throttle:100kB/s", default: "refuse"),
    .value("zone", "ZONE", "in which days and months begin: UTC, Europe/Berlin", default: "UTC"),
  ]

  /// One quota with the amounts of the plans.
  struct Rule: Sendable {
    var quota: Quota
    var plans: [String: QuotaAmount]
  }

  let rules: [Rule]
  let exhaustion: QuotaExhaustion
  let zone: CalendarZone

  init(_ flags: ParsedFlags) throws {
    var usual: [QuotaText] = []
    for text in flags.all("quota") {
      for quota in try QuotaText.list(text, place: "--quota") {
        guard !usual.contains(where: { $0.isSameQuota(as: quota) }) else {
          throw SettingsError("--quota: \"\(quota.name)\" is given twice; give it once")
        }
        usual.append(quota)
      }
    }
    var plans: [(name: String, quotas: [QuotaText])] = []
    for text in flags.all("plan") {
      let (name, quotas) = try Self.plan(text)
      guard !plans.contains(where: { $0.name == name }) else {
        throw SettingsError("--plan: \"\(name)\" is given twice; give it once")
      }
      plans.append((name, quotas))
    }
    // What only a plan limits is counted for everybody, and limits nobody else.
    for quota in plans.flatMap(\.quotas) where !usual.contains(where: { $0.isSameQuota(as: quota) }) {
      usual.append(quota.withoutLimit)
    }
    // Without any, a block would have nothing to bite with.
    if usual.isEmpty { usual = [QuotaText.everything] }
    rules = usual.map { quota in
      var amounts: [String: QuotaAmount] = [:]
      for plan in plans {
        if let own = plan.quotas.first(where: { $0.isSameQuota(as: quota) }) { amounts[plan.name] = own.amount }
      }
      return Rule(quota: quota.quota, plans: amounts)
    }
    exhaustion =
      try flags.parsed("quota-exhausted", allowed: "refuse, close or throttle:RATE with \(byteRateSyntax)") { text in
        switch text {
        case "refuse": return .refuse
        case "close": return .closeExisting
        default:
          guard text.hasPrefix("throttle:") else { return nil }
          return readByteRate(String(text.dropFirst(9))).map { .throttle(to: $0) }
        }
      } ?? .refuse
    zone =
      try flags.parsed(
        "zone", allowed: "UTC, or a name of this machine's time zone database, such as Europe/Berlin", readZone)
      ?? .utc
  }

  private static func plan(_ text: String) throws -> (String, [QuotaText]) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let isName = parts[0].utf8.allSatisfy { byte in
      (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 45 || byte == 95
    }
    guard parts.count == 2, isName, (1...32).contains(parts[0].utf8.count), parts[0] != "default" else {
      throw SettingsError(
        "--plan", value: text,
        allowed:
          "NAME:WHAT=N/WINDOW,… with a name of 1 to 32 letters, digits, - or _ (not default), such as gold:requests=1000/day"
      )
    }
    return (String(parts[0]), try QuotaText.list(String(parts[1]), place: "--plan", allowsUnlimited: true))
  }
}

let quotaExamples = "requests=100/day, bytes=10MB/day, time=2h/month, connections=5"
private let quotaSyntax =
  "\(quotaExamples); windows are minute, hour, day, month, ever, or any time of a length: 30m, 24h"

/// One quota as it is written.
struct QuotaText: Equatable {
  enum Kind: String, CaseIterable {
    case requests, bytes, time, connections
  }

  /// `nil`: no limit.
  private enum Amount: Equatable {
    case unlimited
    case count(Int)
    case time(Duration)
  }

  private let kind: Kind
  private let window: String
  private let parsedWindow: QuotaWindow
  private let limit: Amount

  /// Counts and limits nothing that anybody reaches.
  static let everything = QuotaText(kind: .requests, window: "day", parsedWindow: .day, limit: .unlimited)

  /// Reads `requests=100/day,bytes=1GB/month`.
  static func list(_ text: String, place: String, allowsUnlimited: Bool = false) throws -> [QuotaText] {
    var quotas: [QuotaText] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let quota = QuotaText(String(part), allowsUnlimited: allowsUnlimited) else {
        throw SettingsError(place, value: String(part), allowed: quotaSyntax)
      }
      guard !quotas.contains(where: { $0.isSameQuota(as: quota) }) else {
        throw SettingsError("\(place): \"\(quota.name)\" is given twice; give it once")
      }
      quotas.append(quota)
    }
    return quotas
  }

  private init(kind: Kind, window: String, parsedWindow: QuotaWindow, limit: Amount) {
    self.kind = kind
    self.window = window
    self.parsedWindow = parsedWindow
    self.limit = limit
  }

  private init?(_ text: String, allowsUnlimited: Bool) {
    let sides = text.split(separator: "=", omittingEmptySubsequences: false)
    guard sides.count == 2, let kind = Kind(rawValue: String(sides[0])) else { return nil }
    let parts = sides[1].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == (kind == .connections ? 1 : 2) else { return nil }
    let limit: Amount?
    if parts[0] == "unlimited", allowsUnlimited {
      limit = .unlimited
    } else {
      switch kind {
      case .requests: limit = readInt(parts[0], in: 0...1_000_000_000_000).map { .count($0) }
      case .connections: limit = readInt(parts[0], in: 0...1_000_000).map { .count($0) }
      case .bytes: limit = readBytes(parts[0]).map { .count($0) }
      case .time: limit = readDuration(parts[0]).map { .time($0) }
      }
    }
    guard let limit else { return nil }
    let window = kind == .connections ? "ever" : parts[1]
    guard let parsed = Self.window(window) else { return nil }
    self.init(kind: kind, window: window, parsedWindow: parsed, limit: limit)
  }

  private static func window(_ text: String) -> QuotaWindow? {
    switch text {
    case "minute": return .minute
    case "hour": return .hour
    case "day": return .day
    case "month": return .month
    case "ever": return .forever
    default:
      guard let length = readDuration(text), (.seconds(1) ... .seconds(34_560_000)).contains(length) else { return nil }
      return .rolling(length)
    }
  }

  func isSameQuota(as other: QuotaText) -> Bool { kind == other.kind && parsedWindow == other.parsedWindow }

  var name: String { kind == .connections ? "connections" : "\(kind.rawValue)/\(window)" }

  var withoutLimit: QuotaText { QuotaText(kind: kind, window: window, parsedWindow: parsedWindow, limit: .unlimited) }

  var amount: QuotaAmount {
    switch limit {
    case .unlimited: .unlimited
    case .count(let count): .count(count)
    case .time(let time): .time(time)
    }
  }

  /// The unit of what a counter of this name holds.
  static func unit(of name: String) -> String {
    switch Kind.allCases.first(where: { name == $0.rawValue || name.hasPrefix($0.rawValue + "/") }) {
    case .bytes: QuotaStatus.Unit.bytes.rawValue
    case .time: QuotaStatus.Unit.milliseconds.rawValue
    case .connections: QuotaStatus.Unit.connections.rawValue
    case .requests, nil: QuotaStatus.Unit.requests.rawValue
    }
  }

  var quota: Quota {
    switch (kind, limit) {
    case (.requests, .count(let count)): .requests(count, per: parsedWindow)
    case (.bytes, .count(let count)): .bytes(count, per: parsedWindow)
    case (.connections, .count(let count)): .concurrentConnections(count)
    case (.time, .time(let time)): .time(time, per: parsedWindow)
    case (.requests, .unlimited), (.requests, .time): Quota.requests(0, per: parsedWindow).unlimited
    case (.bytes, .unlimited), (.bytes, .time): Quota.bytes(0, per: parsedWindow).unlimited
    case (.connections, .unlimited), (.connections, .time): Quota.concurrentConnections(0).unlimited
    case (.time, .unlimited), (.time, .count): Quota.time(.zero, per: parsedWindow).unlimited
    }
  }
}

/// `500B`, `10kB`, `10MB`, `1GB`, `2TB`: decimal units.
func readBytes(_ text: String) -> Int? {
  let digits = text.prefix { $0.isASCII && $0.isNumber }
  let units = ["B": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000, "TB": 1_000_000_000_000]
  guard let unit = units[String(text.dropFirst(digits.count))], let count = Int(digits) else { return nil }
  let (bytes, overflow) = count.multipliedReportingOverflow(by: unit)
  return overflow || bytes > 1_000_000_000_000_000_000 ? nil : bytes
}

/// A zone of the system's time zone database, by the C library's rules: Foundation's would make the program seven times as large.
///
/// It becomes the zone of the process, which can have one.
func readZone(_ name: String) -> CalendarZone? {
  if name == "UTC" { return .utc }
  let isName = name.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "_"), UInt8(ascii: "-"),
      UInt8(ascii: "+"):
      true
    default: false
    }
  }
  // The C library takes what it does not know for UTC, without a word.
  let directory = environment("TZDIR") ?? "/usr/share/zoneinfo"
  guard isName, !name.hasPrefix("/"), isZoneFile("\(directory)/\(name)") else { return nil }
  setenv("TZ", ":\(name)", 1)
  tzset()
  return CalendarZone(name: name) { time in
    var seconds = time_t(time.seconds)
    var parts = tm()
    // Null only for years that no clock has.
    return localtime_r(&seconds, &parts) == nil ? 0 : Int(parts.tm_gmtoff)
  }
}

/// RFC 8536, 3: the file begins with "TZif".
private func isZoneFile(_ path: String) -> Bool {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return false }
  defer { close(file) }
  var magic: [UInt8] = [0, 0, 0, 0]
  return read(file, &magic, 4) == 4 && magic == Array("TZif".utf8)
}
