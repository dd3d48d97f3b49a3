internal import Pipeline

/// The fields that say something about the way of a message, which is why a proxy does not simply copy them.
enum RelayedField: UInt8, CaseIterable, Sendable {
  /// RFC 9110, 7.6.3.
  case via
  /// RFC 9110, 7.6.2.
  case maxForwards
  /// RFC 7239.
  case forwarded
  case xForwardedFor, xForwardedProto, xForwardedHost, xForwardedBy
  case xBackendURL
  /// RFC 9110, 11.7: between a client and the next proxy, and nobody else.
  case proxyAuthorization, proxyAuthenticate, proxyAuthenticationInfo
  /// RFC 9110, 11.6.2: for the origin, unless the chain is the one that asked for it.
  case authorization

  /// Which of them has this name, if any.
  init?(_ name: borrowing Span<UInt8>) {
    // Most names are settled by their length.
    switch name.count {
    case 3 where name.isName("via"): self = .via
    case 9 where name.isName("forwarded"): self = .forwarded
    case 12 where name.isName("max-forwards"): self = .maxForwards
    case 13 where name.isName("authorization"): self = .authorization
    case 13 where name.isName("x-backend-url"): self = .xBackendURL
    case 14 where name.isName("x-forwarded-by"): self = .xForwardedBy
    case 15 where name.isName("x-forwarded-for"): self = .xForwardedFor
    case 16 where name.isName("x-forwarded-host"): self = .xForwardedHost
    case 17 where name.isName("x-forwarded-proto"): self = .xForwardedProto
    case 18 where name.isName("proxy-authenticate"): self = .proxyAuthenticate
    case 19 where name.isName("proxy-authorization"): self = .proxyAuthorization
    case 25 where name.isName("proxy-authentication-info"): self = .proxyAuthenticationInfo
    default: return nil
    }
  }

  /// A set of them, in one word.
  struct Set: Sendable, Hashable {
    private var bits: UInt16 = 0

    init(_ members: RelayedField...) { for member in members { insert(member) } }

    func contains(_ field: RelayedField) -> Bool { bits & 1 << UInt16(field.rawValue) != 0 }
    /// Whether the name is one of them.
    func containsName(_ name: borrowing Span<UInt8>) -> Bool { RelayedField(name).map(contains) ?? false }
    mutating func insert(_ field: RelayedField) { bits |= 1 << UInt16(field.rawValue) }
    var isEmpty: Bool { bits == 0 }

    /// Those of them that are among the names.
    init(_ names: KnownNames, of members: Set) { bits = UInt16(truncatingIfNeeded: names.rawValue) & members.bits }
  }
}

/// Which of the names that matter on the way stand in a head, as its parser saw it: so that the lines need not be gone through
/// again for each question. ``RelayedField``s stand at their own bits.
struct KnownNames: OptionSet {
  var rawValue: UInt32

  static let date = KnownNames(rawValue: 1 << 31)
  /// One for which ``tellsOfClient(_:)`` says true.
  static let ofClient = KnownNames(rawValue: 1 << 30)
  static let via = KnownNames(rawValue: 1 << UInt32(RelayedField.via.rawValue))

  init(rawValue: UInt32) { self.rawValue = rawValue }

  /// `nil`: lines have been changed since.
  init?(of fields: HeaderFields) {
    guard let names = fields.knownNames else { return nil }
    rawValue = names
  }

  /// Length and first letter decide nearly always.
  @inline(__always)
  init(_ octets: Octets, _ name: Range<Int>) {
    rawValue = 0
    switch (name.count, octets[name.lowerBound] | 0x20) {
    case (3, UInt8(ascii: "v")), (4, UInt8(ascii: "d")), (9, UInt8(ascii: "f")), (12, UInt8(ascii: "m")),
      (13, UInt8(ascii: "a")), (13..., UInt8(ascii: "x")), (18..., UInt8(ascii: "p")):
      look(octets.part(name).span)
    default: break
    }
  }

  @inline(never)
  private mutating func look(_ name: Span<UInt8>) {
    if let field = RelayedField(name) { rawValue |= 1 << UInt32(field.rawValue) }
    if tellsOfClient(name) { insert(.ofClient) }
    if name.count == 4, name.isName("date") { insert(.date) }
  }
}

/// Whether the field tells of the client on behalf of somebody in front: `forwarded`, and everything that begins with
/// `x-forwarded-` (frameworks believe `-port` and `-prefix`, too).
func tellsOfClient(_ name: borrowing Span<UInt8>) -> Bool {
  switch name.count {
  case 9: name.isName("forwarded")
  case 13...: name.extracting(0..<12).isName("x-forwarded-")
  default: false
  }
}

extension Span<UInt8> {
  /// Whether this is the name, in whatever case. `literal` is in lower case.
  func isName(_ literal: StaticString) -> Bool {
    guard count == literal.utf8CodeUnitCount else { return false }
    return literal.withUTF8Buffer { own in
      for i in 0..<own.count where asciiLowercased(self[i]) != own[i] { return false }
      return true
    }
  }
}

@inline(__always) func asciiLowercased(_ byte: UInt8) -> UInt8 {
  UInt8(ascii: "A") <= byte && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
}
