internal import Pipeline

/// Finds the client behind trusted proxies: the list of addresses that they wrote is walked from the right, from the peer
/// on, for as long as the address is one of theirs. The first that is not is the client; what stands left of it is the
/// client's own word and counts for nothing.
///
/// An entry that is no address (`unknown`, `_hidden`, garbage) ends the walk, too: the client is then the last address that
/// is known. Entries are given from the left, so that nothing has to be kept; the outcome is that of the walk.
struct TrustedWalk {
  private let trusted: [CIDR]
  /// `nil` while the entry to the right is needed.
  private var found: ClientAddress?

  init(trusted: [CIDR]) { self.trusted = trusted }

  /// The next entry to the right.
  mutating func entry(_ address: ClientAddress?) {
    guard let address, let ip = address.ip else {
      found = nil
      return
    }
    if found == nil || !trusted.contains(where: { $0.contains(ip) }) { found = address }
  }

  /// The client, when all entries have been given.
  func client(behind peer: ClientAddress) -> ClientAddress { found ?? peer }
}

extension TrustedWalk {
  /// All entries of one line of `x-forwarded-for`: addresses with commas between them. A port is allowed, as some balancers
  /// write it: `192.0.2.1:443`, `[2001:db8::1]:443`.
  mutating func walkXForwardedFor(_ value: borrowing Span<UInt8>) {
    var begin = 0
    while begin <= value.count {
      var end = begin
      while end < value.count, value[end] != UInt8(ascii: ",") { end += 1 }
      var first = begin
      var last = end
      while first < last, value[first] == 32 || value[first] == 9 { first += 1 }
      while last > first, value[last - 1] == 32 || value[last - 1] == 9 { last -= 1 }
      // Empty elements of a list are nothing (RFC 9110, 5.6.1).
      if first < last { entry(nodeAddress(value.extracting(first..<last))) }
      begin = end + 1
    }
  }

  /// All elements of one line of `forwarded` (RFC 7239, 4).
  mutating func walkForwarded(_ value: borrowing Span<UInt8>) {
    var reader = ForwardedReader(position: 0)
    while true {
      switch reader.nextElement(of: value) {
      case .node(let range): entry(nodeAddress(value.extracting(range)))
      // Whoever wrote it does not say who the client was.
      case .noNode: entry(nil)
      case .malformed:
        // Where the next element begins cannot be told. A client could hide with an open quotation mark what a trusted
        // proxy has written behind it; so nothing of the line counts, and the peer is all that is known.
        return entry(nil)
      case .end: return
      }
    }
  }
}

/// The address of a node (RFC 7239, 6): `192.0.2.1`, `[2001:db8::1]`, either with a port; also an IPv6 address without
/// brackets, as `x-forwarded-for` has it. `nil` for `unknown`, for an obfuscated name and for anything else.
func nodeAddress(_ node: borrowing Span<UInt8>) -> ClientAddress? {
  var colons = 0
  var lastColon = 0
  for i in 0..<node.count where node[i] == UInt8(ascii: ":") {
    colons += 1
    lastColon = i
  }
  let isBracketed = node.count > 0 && node[0] == UInt8(ascii: "[")
  let hasPort = isBracketed ? lastColon > 0 && node[lastColon - 1] == UInt8(ascii: "]") : colons == 1
  guard let ip = IPAddress(text: node.extracting(0..<(hasPort ? lastColon : node.count))) else { return nil }
  guard hasPort else { return ClientAddress(.ip(ip, port: 0)) }
  guard let port = nodePort(node.extracting((lastColon + 1)..<node.count)) else { return nil }
  return ClientAddress(.ip(ip, port: port))
}

/// A port of 1 to 5 digits, or an obfuscated one (RFC 7239, 6.2), which is no number: 0.
private func nodePort(_ text: Span<UInt8>) -> UInt16? {
  if text.count > 1, text[0] == UInt8(ascii: "_") { return 0 }
  guard (1...5).contains(text.count) else { return nil }
  var port: UInt32 = 0
  for i in 0..<text.count {
    guard UInt8(ascii: "0")...UInt8(ascii: "9") ~= text[i] else { return nil }
    port = port * 10 + UInt32(text[i] - UInt8(ascii: "0"))
  }
  return UInt16(exactly: port)
}

/// Reads the elements of a `forwarded` value (RFC 7239, 4), one at a time, with quoted strings and all.
private struct ForwardedReader {
  enum Element {
    /// The range of the `for` value, without its quotation marks.
    case node(Range<Int>)
    case noNode
    case malformed
    case end
  }

  var position: Int

  mutating func nextElement(of value: borrowing Span<UInt8>) -> Element {
    skipBlanks(value)
    while position < value.count, value[position] == UInt8(ascii: ",") {
      position += 1
      skipBlanks(value)
    }
    guard position < value.count else { return .end }
    var node: Range<Int>?
    while true {
      skipBlanks(value)
      // An empty pair, as in `;;`.
      if position == value.count { return finish(node) }
      if value[position] == UInt8(ascii: ";") {
        position += 1
        continue
      }
      if value[position] == UInt8(ascii: ",") { return finish(node) }
      guard let name = token(value), position < value.count, value[position] == UInt8(ascii: "=") else {
        return .malformed
      }
      position += 1
      guard let content = content(value) else { return .malformed }
      if value.extracting(name).isName("for") {
        // Said twice: which of them?
        if node != nil { return .malformed }
        node = content
      }
      skipBlanks(value)
      guard position < value.count else { return finish(node) }
      switch value[position] {
      case UInt8(ascii: ";"): position += 1
      case UInt8(ascii: ","): return finish(node)
      default: return .malformed
      }
    }
  }

  private func finish(_ node: Range<Int>?) -> Element { node.map { .node($0) } ?? .noNode }

  private mutating func skipBlanks(_ value: borrowing Span<UInt8>) {
    while position < value.count, value[position] == 32 || value[position] == 9 { position += 1 }
  }

  private mutating func token(_ value: borrowing Span<UInt8>) -> Range<Int>? {
    let begin = position
    while position < value.count, isToken(value[position]) { position += 1 }
    return begin < position ? begin..<position : nil
  }

  /// A token or a quoted string; an escaped byte in it stays as it is, and makes no address.
  private mutating func content(_ value: borrowing Span<UInt8>) -> Range<Int>? {
    guard position < value.count, value[position] == UInt8(ascii: "\"") else { return token(value) }
    position += 1
    let begin = position
    while position < value.count {
      switch value[position] {
      case UInt8(ascii: "\""):
        position += 1
        return begin..<(position - 1)
      case UInt8(ascii: "\\"): position += 2
      default: position += 1
      }
    }
    return nil
  }
}

/// Whether the byte may stand in a token (RFC 9110, 5.6.2).
func isToken(_ byte: UInt8) -> Bool {
  // Bits of the printable bytes below 64, and of those from 64 on.
  let low: UInt64 = 0x03ff_6cfa_0000_0000
  let high: UInt64 = 0x57ff_ffff_c7ff_fffe
  if byte < 64 { return low >> UInt64(byte) & 1 != 0 }
  return byte < 128 && high >> UInt64(byte - 64) & 1 != 0
}
