import Pipeline

@testable import Transports

/// A PROXY protocol header: the same in whatever pieces; and what is written of it is taken again as the same.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let whole = outcome(bytes, ends: [bytes.count])
  Fuzzing.expectSame(whole, outcome(bytes, ends: Fuzzing.cuts(bytes)), "header")
  if bytes.count < 200 { Fuzzing.expectSame(whole, outcome(bytes, ends: Array(0...bytes.count)), "header") }
  guard case .complete(let header, let length) = whole else { return 0 }
  Fuzzing.expect(length <= min(bytes.count, ProxyProtocolParser.maxLength), "a header of \(length) bytes")
  guard case .ip(let source, let sourcePort, let destination, let destinationPort) = header.addresses else { return 0 }
  // One of the two may be IPv4 although the header says IPv6: a mapped address.
  for version in [ProxyProtocolVersion.v1, .v2] {
    var written: [UInt8] = []
    ProxyProtocolWriter.append(
      version, source: ClientAddress(.ip(source, port: sourcePort)),
      destination: .ip(destination, port: destinationPort),
      to: &written)
    let again = ProxyProtocolHeader(version: version, addresses: header.addresses)
    let read = outcome(written, ends: [written.count])
    Fuzzing.expect(read == .complete(again, written.count), "\(again) was written as \(written) and read as \(read)")
  }
  return 0
}

private enum Outcome: Equatable {
  case incomplete
  case complete(ProxyProtocolHeader, Int)
  case refused(String)
}

private func outcome(_ bytes: [UInt8], ends: [Int]) -> Outcome {
  var parser = ProxyProtocolParser()
  do {
    for end in ends {
      if case .complete(let header, let length) = try parser.parse(Array(bytes[..<end]).span) {
        return .complete(header, length)
      }
    }
    return .incomplete
  } catch {
    return .refused("\(error)")
  }
}
