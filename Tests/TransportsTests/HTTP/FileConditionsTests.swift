import Foundation
import Pipeline
import PipelineTesting
import Testing

@testable import Transports

struct FileConditionsTests {
  private let tag = "\"5.0-1-5\""
  private let date = HTTPDate.text(1_000_000)

  private func verdict(
    _ fields: KeyValuePairs<HeaderName, String>, tag: String = "\"5.0-1-5\"", size: UInt64 = 100,
    _ method: HTTPMethod = .get
  ) -> FileConditions.Verdict {
    var request = HTTPRequestHead(method: method, target: "/")
    for (name, value) in fields { request.fields.add(name, value) }
    return FileConditions(request).verdict(tag: tag, lastModified: 1_000_000, size: size)
  }

  @Test func aTagThatTheClientHasIsNotSentAgain() {
    #expect(verdict(["if-none-match": tag]) == .notModified)
    #expect(verdict(["if-none-match": "W/" + tag]) == .notModified)
    #expect(verdict(["if-none-match": tag], tag: "W/" + tag) == .notModified)
    #expect(verdict(["if-none-match": "\"a,b\", W/\"c\" , \(tag)"]) == .notModified)
    #expect(verdict(["if-none-match": "\"x\"", "If-None-Match": tag]) == .notModified)
    #expect(verdict(["if-none-match": "*"]) == .notModified)
    #expect(verdict(["if-none-match": "\"x\""]) == .whole)
    #expect(verdict(["if-none-match": "5.0-1-5"]) == .whole)
    #expect(verdict(["if-none-match": "\"5.0-1-5"]) == .whole)
  }

  @Test func aDateCountsOnlyWithoutATag() {
    #expect(verdict(["if-modified-since": date]) == .notModified)
    #expect(verdict(["if-modified-since": HTTPDate.text(999_999)]) == .whole)
    #expect(verdict(["if-modified-since": "yesterday"]) == .whole)
    #expect(verdict(["if-modified-since": date, "if-none-match": "\"x\""]) == .whole)
    #expect(verdict(["if-unmodified-since": date]) == .whole)
    #expect(verdict(["if-unmodified-since": HTTPDate.text(999_999)]) == .failed)
    #expect(verdict(["if-unmodified-since": HTTPDate.text(999_999), "if-match": tag]) == .whole)
  }

  @Test func ifMatchComparesStrongly() {
    #expect(verdict(["if-match": tag]) == .whole)
    #expect(verdict(["if-match": "*"]) == .whole)
    #expect(verdict(["if-match": "\"x\""]) == .failed)
    #expect(verdict(["if-match": "W/" + tag]) == .failed)
    #expect(verdict(["if-match": tag], tag: "W/" + tag) == .failed)
    #expect(verdict(["if-match": tag, "if-none-match": tag]) == .notModified)
  }

  @Test(
    arguments: [
      ("bytes=0-0", 0..<1), ("bytes=0-", 0..<100), ("bytes=10-19", 10..<20), ("bytes=99-", 99..<100),
      ("bytes=90-1000", 90..<100), ("bytes=-1", 99..<100), ("bytes=-1000", 0..<100), ("BYTES=1-2", 1..<3),
      ("bytes=1-99999999999999999999999", 1..<100),
    ] as [(String, Range<UInt64>)])
  func oneRangeIsAPart(_ range: String, _ part: Range<UInt64>) {
    #expect(verdict(["range": range]) == .part(part))
  }

  @Test(arguments: ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"])
  func aRangeBehindTheEndCannotBeSatisfied(_ range: String) {
    #expect(verdict(["range": range]) == .unsatisfiable)
  }

  @Test(arguments: [
    "bytes=", "bytes=,", "bytes=0-1,x", "bytes=0-1,5-4", "bytes=-", "bytes=a-b", "bytes=2-1", "bytes 0-1", "lines=0-1",
    "bytes=0--1",
    "bytes=+1-2",
    "bytes=1 - 2", "",
  ])
  func whatIsNoRangeIsTheWholeFile(_ range: String) {
    #expect(verdict(["range": range]) == .whole)
  }

  @Test func aRangeOfAnEmptyFileOrWithAnotherMethod() {
    #expect(verdict(["range": "bytes=0-0"], size: 0) == .unsatisfiable)
    #expect(verdict(["range": "bytes=-5"], size: 0) == .unsatisfiable)
    #expect(verdict(["range": "bytes=0-0"], .head) == .whole)
    #expect(verdict(["range": "bytes=0-0", "Range": "bytes=5-6"]) == .whole)
  }

  @Test func aRangeOfAnotherFileIsTheWholeFile() {
    #expect(verdict(["range": "bytes=0-0", "if-range": tag]) == .part(0..<1))
    #expect(verdict(["range": "bytes=0-0", "if-range": "\"x\""]) == .whole)
    #expect(verdict(["range": "bytes=0-0", "if-range": "W/" + tag], tag: "W/" + tag) == .whole)
    #expect(verdict(["range": "bytes=0-0", "if-range": date]) == .part(0..<1))
    #expect(verdict(["range": "bytes=0-0", "if-range": HTTPDate.text(1_000_001)]) == .whole)
    #expect(verdict(["range": "bytes=0-0", "if-range": date], tag: "W/" + tag) == .whole)
    #expect(verdict(["range": "bytes=0-0", "if-none-match": tag]) == .notModified)
  }

  @Test(arguments: [
    ("gzip", true), ("br, gzip", true), ("gzip;q=0", false), ("gzip; q=0.000, *", false), ("*", true),
    ("identity", false),
    ("*;q=0", false), ("GZIP", true), ("x-gzip", true), ("gzip;q=0.001", true), ("", false), ("xgzip", false),
  ])
  func anEncodingIsTakenWhereTheClientTakesIt(_ accept: String, _ isAccepted: Bool) {
    var fields = HeaderFields()
    fields.add("accept-encoding", accept)
    #expect(FileConditions.accepts(.gzip, fields) == isAccepted)
  }
}

struct FileRepresentationTests {
  @Test func conditionsAndRangesOverARealFile() async throws {
    let tree = try TemporaryTree()
    try tree.file("a.txt", "0123456789")
    let server = try FileServer(Files(tree.root.path))
    let tag = try #require(await server.ask("/a.txt").response?.fields["etag"])
    let same = await server.ask("/a.txt", .get, ["if-none-match": tag])
    #expect(same.response?.status == 304 && same.response?.fields["etag"] == tag && same.responseBody.isEmpty)
    let part = await server.ask("/a.txt", .get, ["range": "bytes=2-4", "if-range": tag])
    #expect(part.response?.status == 206 && part.responseBody == Array("234".utf8))
    #expect(part.response?.fields["content-range"] == "bytes 2-4/10")
    let none = await server.ask("/a.txt", .get, ["range": "bytes=10-"])
    #expect(none.response?.status == 416 && none.response?.fields["content-range"] == "bytes */10")
    #expect(await server.text("/a.txt", .get, ["if-match": "\"x\""]) == "412")
  }

  @Test func aFileThatChangedJustNowHasAWeakTag() async throws {
    let tree = try TemporaryTree()
    try tree.file("a.txt", "x", age: 0)
    try tree.file("future.txt", "x", age: -86_400)
    let server = try FileServer(Files(tree.root.path))
    #expect(await server.ask("/a.txt").response?.fields["etag"]?.hasPrefix("W/\"") == true)
    let future = try #require(await server.ask("/future.txt").response)
    #expect(future.fields["etag"]?.hasPrefix("W/\"") == true)
    let text = Array((future.fields["last-modified"] ?? "").utf8)
    let modified = HTTPDate.parse(text.span, now: 0) ?? .max
    #expect(Double(modified) <= Date().timeIntervalSince1970)
  }

  @Test func aSiblingIsSentToWhomTakesItsEncoding() async throws {
    let tree = try TemporaryTree()
    try tree.file("a.js", "plain")
    try tree.file("a.js.gz", "zipped")
    try tree.file("a.js.br", "brotli")
    try tree.file("b.js", "plain")
    try tree.file("only.js.gz", "zipped")
    let server = try FileServer(Files(tree.root.path, precompressed: [.brotli, .gzip]))
    let best = await server.ask("/a.js", .get, ["accept-encoding": "gzip, br"])
    #expect(best.responseBody == Array("brotli".utf8))
    #expect(best.response?.fields["content-encoding"] == "br")
    #expect(best.response?.fields["content-type"] == "text/javascript; charset=utf-8")
    let plain = await server.ask("/a.js")
    #expect(plain.responseBody == Array("plain".utf8) && plain.response?.fields["content-encoding"] == nil)
    #expect(plain.response?.fields["vary"] == "accept-encoding")
    #expect(plain.response?.fields["etag"] != best.response?.fields["etag"])
    #expect(await server.text("/a.js", .get, ["accept-encoding": "gzip"]) == "200 zipped")
    #expect(await server.text("/b.js", .get, ["accept-encoding": "gzip, br"]) == "200 plain")
    #expect(await server.text("/only.js", .get, ["accept-encoding": "gzip"]) == "404")
  }
}
