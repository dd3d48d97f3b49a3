import Pipeline

@testable import Transports

/// A chunked body: the same in whatever pieces; and what is written of it is taken again as the same.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  var options = HTTPOptions()
  options.maxChunkExtensions = 64
  options.maxTrailers = 256
  options.maxBody = 4096
  let whole = DecodedBody(bytes, options)
  Fuzzing.expectSame(whole, DecodedBody(bytes, ends: Fuzzing.cuts(bytes), options), "body")
  if bytes.count < 200 { Fuzzing.expectSame(whole, DecodedBody(bytes, ends: Array(0...bytes.count), options), "body") }
  guard case .ended = whole else { return 0 }

  var decoder = ChunkedDecoder(options, from: .client)
  var wire: [UInt8] = []
  var at = 0
  while true {
    guard let step = try? bytes.withUnsafeBytes({ try decoder.next(UnsafeRawBufferPointer(rebasing: $0[at...])) })
    else {
      Fuzzing.fail("a body is taken once, and refused then")
    }
    switch step {
    case .data(let range, let consumed):
      ChunkSerializer.appendHead(range.count, to: &wire)
      wire += bytes[(at + range.lowerBound)..<(at + range.upperBound)]
      ChunkSerializer.appendEnd(to: &wire)
      at += consumed
    case .needMore:
      Fuzzing.fail("a body ends once, and goes on then")
    case .end(let consumed):
      ChunkSerializer.appendLast(trailers: decoder.trailers, to: &wire)
      let rest = bytes[(at + consumed)...]
      options.maxTrailers *= 2
      Fuzzing.expectSame(whole, DecodedBody(wire + rest, options), "written body")
      return 0
    }
  }
}
