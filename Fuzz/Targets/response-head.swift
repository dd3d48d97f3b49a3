import Pipeline

@testable import Transports

/// A response's head: the same in whatever pieces; and what is written of it is taken again as the same.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  for method in [HTTPMethod.get, .head, .connect] {
    let whole = Parsed.response(bytes, to: method)
    Fuzzing.expectSame(whole, Parsed.response(bytes, to: method, ends: Fuzzing.cuts(bytes)), "response")
    guard case .head = whole else { return 0 }
    rewrite(bytes, to: method)
  }
  return 0
}

private func rewrite(_ bytes: [UInt8], to method: HTTPMethod) {
  var parser = ResponseHeadParser(HTTPOptions())
  var head = HTTPResponseHead()
  var framing = ResponseFraming()
  _ = try? bytes.withUnsafeBytes { try parser.parse($0, for: method, into: &head, &framing) }
  var outgoing = OutgoingResponse(
    declaredLength: framing.declaredLength, upgrades: head.status == 101 || head.status == 426)
  switch framing.body {
  case .none: break
  case .bytes(let length): outgoing.body = .length(length)
  case .chunked: outgoing.body = .chunked
  case .untilClose: outgoing.body = .untilClose
  }
  var wire: [UInt8] = []
  HeadSerializer.append(head, outgoing, to: &wire)
  var roomy = HTTPOptions()
  roomy.maxHead *= 2
  roomy.maxFields *= 2
  parser = ResponseHeadParser(roomy)
  var again = HTTPResponseHead()
  var framingAgain = ResponseFraming()
  do {
    let progress = try wire.withUnsafeBytes { try parser.parse($0, for: method, into: &again, &framingAgain) }
    Fuzzing.expect(progress == .complete(length: wire.count), "what was written ends elsewhere: \(progress)")
  } catch {
    Fuzzing.fail("what was written is refused: \(error)")
  }
  Fuzzing.expect(again.status == head.status, "another status")
  Fuzzing.expect(framingAgain.body == framing.body, "another body: \(framingAgain.body), \(framing.body)")
  Fuzzing.expect(framingAgain.declaredLength == framing.declaredLength, "another length")
  Fuzzing.expect(again.fields.wireCount == head.fields.wireCount, "other fields")
}
