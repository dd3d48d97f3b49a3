internal import Pipeline

/// The origins whose pages may use a service, for ``CORS``.
public struct CORSOrigins: Sendable, CustomStringConvertible {
  private enum Kind: Sendable {
    case any
    case listed([Pattern])
    case rule(@Sendable (String) -> Bool)
  }

  /// `https://a.example`, or `https://*.example` in its two parts.
  private struct Pattern: Sendable {
    let text: String
    let bytes: [UInt8]
    let star: Int?
  }

  private let kind: Kind
  private init(_ kind: Kind) { self.kind = kind }

  /// Every origin; never with credentials.
  public static let any = CORSOrigins(.any)

  /// These: scheme, host, and the port where it is not the scheme's own, in lower case, as browsers write them.
  /// `https://*.example.org` stands for every name below `example.org`, not for itself. `null` (files, sandboxes) is an
  /// origin that anybody can have.
  public static func origins(_ origins: String...) -> CORSOrigins { CORSOrigins.origins(origins) }

  /// The same, for origins that come from settings.
  public static func origins(_ origins: [String]) -> CORSOrigins {
    CORSOrigins(
      .listed(
        origins.map { text in
          let bytes = Array(text.utf8)
          return Pattern(text: text, bytes: bytes, star: bytes.firstIndex(of: UInt8(ascii: "*")))
        }))
  }

  /// Those for which `rule` says true. It gets the field as it came, runs on the loop and must not block.
  public static func matching(_ rule: @escaping @Sendable (_ origin: String) -> Bool) -> CORSOrigins {
    CORSOrigins(.rule(rule))
  }

  var isAny: Bool { if case .any = kind { true } else { false } }

  public var description: String {
    switch kind {
    case .any: "any"
    case .listed(let patterns): patterns.map(\.text).joined(separator: " ")
    case .rule: "by a rule"
    }
  }

  var problems: [String] {
    guard case .listed(let patterns) = kind else { return [] }
    if patterns.isEmpty { return ["no origin is allowed: name one or more"] }
    return patterns.compactMap { pattern in
      if pattern.text == "null" { return nil }
      if pattern.text == "*" { return "the origin \"*\" is none: write .any" }
      let parts = pattern.text.split(separator: "/", omittingEmptySubsequences: false)
      let isOrigin =
        parts.count == 3 && parts[0].hasSuffix(":") && parts[0].count > 1 && parts[1].isEmpty && !parts[2].isEmpty
      guard isOrigin else {
        return "\"\(pattern.text)\" is no origin: write scheme://host or scheme://host:port, without a path"
      }
      if pattern.text != pattern.text.lowercased() {
        return "browsers write origins in lower case: \"\(pattern.text)\""
      }
      let stars = pattern.text.filter { $0 == "*" }.count
      if stars > 1 || (stars == 1 && (!parts[2].hasPrefix("*.") || !parts[2].dropFirst(2).contains(where: \.isLetter)))
      {
        return "the * in \"\(pattern.text)\" has to be a whole first label: https://*.example.org"
      }
      return nil
    }
  }

  func verdict(on origin: borrowing Span<UInt8>) -> CORSVerdict {
    switch kind {
    case .any: return .anyone
    case .listed(let patterns):
      for pattern in patterns where Self.matches(pattern, origin) {
        return .allowed(pattern.star == nil ? pattern.text : Self.text(origin))
      }
      return .refused
    case .rule(let rule):
      let text = Self.text(origin)
      return rule(text) ? .allowed(text) : .refused
    }
  }

  private static func text(_ origin: borrowing Span<UInt8>) -> String {
    var bytes: [UInt8] = []
    for i in 0..<origin.count { bytes.append(origin[i]) }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func matches(_ pattern: Pattern, _ origin: borrowing Span<UInt8>) -> Bool {
    let bytes = pattern.bytes
    guard let star = pattern.star else {
      guard origin.count == bytes.count else { return false }
      for i in 0..<bytes.count where bytes[i] != origin[i] { return false }
      return true
    }
    let tail = bytes.count - star - 1
    let gap = origin.count - bytes.count + 1
    guard gap > 0 else { return false }
    for i in 0..<star where bytes[i] != origin[i] { return false }
    for i in 0..<tail where bytes[star + 1 + i] != origin[origin.count - tail + i] { return false }
    // A `:` or `@` in the gap would end the host before the part that was compared.
    for i in star..<(star + gap) {
      switch origin[i] {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
        UInt8(ascii: "."), UInt8(ascii: "_"):
        continue
      default: return false
      }
    }
    return true
  }
}
