internal import Pipeline

/// Who sent the bytes that are parsed. The rules are the same; whose fault a breach is, and its status, differ.
enum MessageSource: Sendable {
  case client
  case origin

  /// The rejection for a breach: of a client as it is, of an origin always `upstreamProtocol` (502).
  func fault(_ kind: Rejection.Kind, _ detail: String) -> Rejection {
    switch self {
    case .client: Rejection(kind, detail: detail)
    case .origin: Rejection(.upstreamProtocol, detail: "origin: \(detail)")
    }
  }

  func malformed(_ detail: String) -> Rejection { fault(.malformed, detail) }
}

/// Bytes of a peer in a line of the log: bounded, and with everything escaped that is not plain, so that no peer writes
/// lines of its own. Only for what cannot be secret: names, lengths, codings, hosts; never for other values or targets.
func quoted(_ octets: Octets, _ range: Range<Int>) -> String {
  var text = "\""
  for i in range.prefix(48) {
    let octet = octets[i]
    if octet >= 32, octet < 127, octet != UInt8(ascii: "\""), octet != UInt8(ascii: "\\") {
      text.unicodeScalars.append(Unicode.Scalar(octet))
    } else {
      text += "\\x" + hexadecimal(octet)
    }
  }
  return text + (range.count > 48 ? "…\"" : "\"")
}

/// An octet by its name where it has one that people know.
func named(_ octet: UInt8) -> String {
  switch octet {
  case 0: "NUL"
  case 9: "a tab"
  case 10: "a line feed"
  case 13: "a carriage return"
  case 32: "a space"
  default: octet > 32 && octet < 127 ? "'\(Character(Unicode.Scalar(octet)))'" : "octet 0x\(hexadecimal(octet))"
  }
}

private func hexadecimal(_ octet: UInt8) -> String {
  let digits = String(octet, radix: 16)
  return digits.count == 1 ? "0" + digits : digits
}
