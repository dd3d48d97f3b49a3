import Pipeline

@testable import RedisStores

/// What a Redis server sends: the same values in whatever pieces, within the limits, and written and read again the same.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let limits = RESPLimits(line: 256, bulk: 1024, depth: 8, elements: 200, reply: 4096)
  let whole = Replies([bytes], limits)
  let cut = Replies(Fuzzing.pieces(bytes), limits)
  Fuzzing.expectSame(whole, cut, "replies")
  Fuzzing.expectSame(whole, Replies(bytes.map { [$0] }, limits), "replies byte by byte")
  Fuzzing.expect(whole.written.count <= 8 * bytes.count + 64, "\(whole.written.count) bytes out of \(bytes.count)")
  let again = Replies([whole.written], RESPLimits())
  Fuzzing.expect(again.fault == nil, "what was written is refused: \(again)")
  // Line ends within an error are written as spaces, which may change the error once; after that nothing changes.
  let third = Replies([again.written], RESPLimits())
  Fuzzing.expect(third == again && again.count == whole.count, "written and read again: \(again) is \(third)")
  return 0
}

/// What a parser made of some bytes. The values are compared as they are written: a NaN equals no NaN.
private struct Replies: Equatable {
  var written: [UInt8] = []
  var count = 0
  var fault: RESPFault?

  init(_ pieces: [[UInt8]], _ limits: RESPLimits) {
    var parser = RESPParser(limits)
    do throws(RESPFault) {
      for piece in pieces {
        parser.append(piece)
        while let value = try parser.next() {
          RESPSerializer.append(value, as: .resp3, to: &written)
          count += 1
        }
      }
    } catch {
      fault = error
    }
  }
}
