import Foundation
import Pipeline
import PipelineTesting
import Testing

@testable import Transports

/// Several ranges in one field (RFC 9110, 14.2 and 15.3.7.2).
struct ByteRangesTests {
  @Test(
    arguments: [
      ("bytes=0-9,5000-5009", [0..<10, 5000..<5010]),
      // In the order of the request.
      ("bytes=5000-5009, 0-9", [5000..<5010, 0..<10]), ("bytes=-10,0-9", [9990..<10_000, 0..<10]),
      ("bytes=0-9,,\t9990- , ", [0..<10, 9990..<10_000]),
      // What cannot be satisfied does not count.
      ("bytes=0-9,20000-,5000-5009", [0..<10, 5000..<5010]),
      // What overlaps or nearly touches is joined where its first piece stood.
      ("bytes=0-9,5000-5009,5-20", [0..<21, 5000..<5010]), ("bytes=5000-5009,0-9,10-19", [5000..<5010, 0..<20]),
      ("bytes=0-0,128-128,5000-", [0..<129, 5000..<10_000]), ("bytes=0-0,129-129", [0..<1, 129..<130]),
      // The last one joins two that were apart.
      ("bytes=0-9,9000-9009,300-309,5-305", [0..<310, 9000..<9010]),
    ] as [(String, [Range<UInt64>])])
  func severalRangesAreParts(_ field: String, _ parts: [Range<UInt64>]) {
    #expect(ByteRanges.verdict(field, size: 10_000) == .parts(parts))
  }

  @Test(
    arguments: [
      ("bytes=0-9,10-19", 0..<20), ("bytes=0-9,0-9", 0..<10), ("bytes=0-9,20000-", 0..<10),
      ("bytes=0-9,5-,-1", 0..<10_000), ("bytes= 0-9 ,", 0..<10),
    ] as [(String, Range<UInt64>)])
  func whatComesToOneRangeIsOnePart(_ field: String, _ part: Range<UInt64>) {
    #expect(ByteRanges.verdict(field, size: 10_000) == .part(part))
  }

  @Test func noneThatCanBeSatisfiedIsA416() {
    #expect(ByteRanges.verdict("bytes=10000-,20000-30000,-0", size: 10_000) == .unsatisfiable)
  }

  /// The attack: many ranges in one small field, each answered with the file (CVE-2011-3192).
  @Test func moreThanItIsWorthIsTheWholeFile() {
    let sixteen = (0..<16).map { "\($0 * 600)-\($0 * 600)" }.joined(separator: ",")
    guard case .parts(let parts) = ByteRanges.verdict("bytes=" + sixteen, size: 10_000) else {
      Issue.record("16 ranges are not answered")
      return
    }
    #expect(parts.count == 16)
    #expect(ByteRanges.verdict("bytes=" + sixteen + ",9999-9999", size: 10_000) == .whole)
    #expect(ByteRanges.verdict("bytes=0-0" + String(repeating: ",", count: 40), size: 10_000) == .whole)
    // The parts would be longer than the file.
    #expect(ByteRanges.verdict("bytes=0-0,200-200", size: 201) == .whole)
    #expect(ByteRanges.verdict("bytes=0-4899,5100-9999", size: 10_000) == .whole)
    #expect(ByteRanges.verdict("bytes=0-" + String(repeating: ",0-", count: 15), size: 10_000) == .part(0..<10_000))
  }

  @Test func aMultipartBodyHoldsEveryPartAndItsPlace() async throws {
    let tree = try TemporaryTree()
    let text = String(repeating: "0123456789", count: 100)
    try tree.file("a.txt", text)
    let server = try FileServer(Files(tree.root.path))
    let run = await server.ask("/a.txt", .get, ["range": "bytes=-5,100-104"])
    let head = try #require(run.response)
    #expect(head.status == 206 && head.fields["content-range"] == nil && head.fields["accept-ranges"] == "bytes")
    let type = try #require(head.fields["content-type"])
    let mark = "multipart/byteranges; boundary="
    try #require(type.hasPrefix(mark))
    let boundary = type.dropFirst(mark.count)
    #expect(boundary.count == 32)
    let body = String(decoding: run.responseBody, as: UTF8.self)
    #expect(
      body == """
        --\(boundary)\r
        content-type: text/plain; charset=utf-8\r
        content-range: bytes 995-999/1000\r
        \r
        56789\r
        --\(boundary)\r
        content-type: text/plain; charset=utf-8\r
        content-range: bytes 100-104/1000\r
        \r
        01234\r
        --\(boundary)--\r

        """)
    #expect(head.fields["content-length"] == nil || head.fields["content-length"] == "\(body.utf8.count)")
  }

  @Test func aConditionThatDoesNotHoldIsTheWholeFile() async throws {
    let tree = try TemporaryTree()
    try tree.file("a.txt", String(repeating: "x", count: 1000))
    let server = try FileServer(Files(tree.root.path))
    let run = await server.ask("/a.txt", .get, ["range": "bytes=0-0,-1", "if-range": "\"other\""])
    #expect(run.response?.status == 200 && run.responseBody.count == 1000)
  }
}
