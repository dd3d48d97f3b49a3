import Pipeline

@testable import Transports

/// A request's head: the same in whatever pieces; and what is written of it is taken again as the same.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let whole = Parsed.request(bytes)
  Fuzzing.expectSame(whole, Parsed.request(bytes, ends: Fuzzing.cuts(bytes)), "request")
  if bytes.count < 200 { Fuzzing.expectSame(whole, Parsed.request(bytes, ends: Array(0...bytes.count)), "request") }
  guard case .head = whole else { return 0 }
  var parser = RequestHeadParser(HTTPOptions())
  var head = HTTPRequestHead(method: .get, target: "")
  var framing = RequestFraming()
  _ = try? bytes.withUnsafeBytes { try parser.parse($0, into: &head, &framing) }
  var outgoing = OutgoingRequest(
    isForProxy: true, upgrades: framing.wantsUpgrade, expectsContinue: framing.expectsContinue,
    acceptsTrailers: framing.acceptsTrailers, closes: !framing.keepsAlive)
  switch head.body {
  case .none: break
  case .bytes(let length): outgoing.body = .length(length)
  case .unknown: outgoing.body = .chunked
  }
  var wire: [UInt8] = []
  HeadSerializer.append(head, outgoing, host: Array("fallback".utf8), to: &wire)
  // With its own framing and a target that may have grown, a head of the longest kind is longer than it came.
  var roomy = HTTPOptions()
  roomy.maxHead *= 2
  roomy.maxRequestLine *= 2
  roomy.maxFields *= 2
  parser = RequestHeadParser(roomy)
  var again = HTTPRequestHead(method: .get, target: "")
  var framingAgain = RequestFraming()
  do {
    let progress = try wire.withUnsafeBytes { try parser.parse($0, into: &again, &framingAgain) }
    Fuzzing.expect(progress == .complete(length: wire.count), "what was written ends elsewhere: \(progress)")
  } catch {
    Fuzzing.fail("what was written is refused: \(error)")
  }
  Fuzzing.expect(again.method == head.method, "another method")
  Fuzzing.expect(again.body == head.body, "another body: \(again.body), \(head.body)")
  Fuzzing.expect(framingAgain.wantsUpgrade == framing.wantsUpgrade, "another upgrade")
  Fuzzing.expect(framingAgain.expectsContinue == framing.expectsContinue, "another expectation")
  Fuzzing.expect(framingAgain.acceptsTrailers == framing.acceptsTrailers, "other trailers")
  Fuzzing.expect(again.path == head.path || head.path.isEmpty, "another path")
  let host = again.fields["host"] ?? ""
  if framing.hasHost {
    Fuzzing.expect(host == head.fields["host"], "another host")
    Fuzzing.expect(again.fields.wireCount == head.fields.wireCount, "other fields")
  }
  return 0
}
