import Pipeline
import Testing

@testable import Transports

/// However the network cuts the bytes, the parsers make the same of them.
@Suite struct ParsingSplitTests {
  static let requests = [
    "GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nAccept:*/*\r\nX: \r\n\r\nGET /next HTTP/1.1\r\n",
    "\r\nPOST http://a:80/ HTTP/1.1\r\nHost: A\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    "GET / HTTP/1.1\r\nX-A: 1\r\nHost: a\r\nConnection: close, x-a, te\r\nTE: trailers\r\nX-B:  2\t\r\n\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nProxy-Authorization: Basic eDp5\r\n\r\n\u{16}\u{3}\u{1}",
    "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "GET / HTTP/2.0\r\n\r\n", "\r\n\r\nGET / HTTP/1.1\r\n", "\rGET / HTTP/1.1\r\n", "\u{16}\u{3}\u{1}\n", "GET /\r\n",
  ]

  static let responses = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer:x\r\n\r\nhello",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0 200\r\nConnection: keep-alive, x\r\nX: y\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 20 x\r\n\r\n",
    "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "SSH-2.0-OpenSSH\r\n",
    "HTTP/1.1 200 x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "HTTP/1.1 200 x\r\nA : b\r\n\r\n", "HTTP/1.1\n",
  ]

  static let bodies = [
    "5\r\nhello\r\n0\r\n\r\nGET /", "1;a=b\r\nx\r\n00A; b\r\n0123456789\r\n0\r\nX-T:  1\r\nCookie: x\r\n\r\nrest",
    "5\r\nhello!\r\n", "5 \r\nhello", "2\r\nhi\r\n0\r\nHost: x\r\n\r\n", "5;a\nhello", "0\r\nA\r\n\r\n",
  ]

  /// Every prefix one byte longer than the one before.
  private static func byteByByte(_ bytes: [UInt8]) -> [Int] { Array(0...bytes.count) }

  @Test(arguments: requests) func requestHeads(text: String) {
    let bytes = Array(text.utf8)
    compare(bytes) { Parsed.request(bytes, ends: $0) }
  }

  @Test(arguments: responses) func responseHeads(text: String) {
    let bytes = Array(text.utf8)
    compare(bytes) { Parsed.response(bytes, ends: $0) }
  }

  @Test(arguments: bodies) func chunkedBodies(text: String) {
    let bytes = Array(text.utf8)
    compare(bytes) { DecodedBody(bytes, ends: $0) }
  }

  private func compare<Outcome: Equatable>(_ bytes: [UInt8], _ parse: ([Int]) -> Outcome) {
    let whole = parse([bytes.count])
    let single = parse(Self.byteByByte(bytes))
    if single != whole { Issue.record("byte by byte: \(single), in one piece: \(whole)") }
    for first in 0...bytes.count {
      for second in first...bytes.count {
        let cut = parse([first, second, bytes.count])
        if cut != whole {
          Issue.record("cut at \(first) and \(second): \(cut), in one piece: \(whole)")
          return
        }
      }
    }
  }

  // What is remembered of a head ends with it: also where it was refused, and where its rest never came.
  private static let beforeRequests =
    requests + [
      "GET / HTTP/1.0\r\nUpgrade: h2c\r\nConnection: upgrade, x, keep-alive\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n",
      "PUT / HTTP/1.1\r\nVia: 1.1 x\r\nX-Forwarded-For: 1.2.3.4\r\nHost:  a \r\nConnection: close, x\r\nContent-Length: 7\r\n\r\n",
      "PUT / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ]

  @Test(arguments: beforeRequests) func aRequestLeavesNothingToTheNext(before: String) {
    let earlier = Array(before.utf8)
    for later in Self.beforeRequests {
      let bytes = Array(later.utf8)
      let alone = Parsed.request(bytes)
      for end in 0...earlier.count {
        var parser = RequestHeadParser(HTTPOptions())
        var head = HTTPRequestHead(method: .get, target: "")
        var framing = RequestFraming()
        _ = Parsed.request(earlier, ends: [end], by: &parser, &head, &framing)
        parser.reset()
        // As a connection does.
        (head.method, head.version) = (.get, .http11)
        let next = Parsed.request(bytes, by: &parser, &head, &framing)
        if next != alone { Issue.record("behind \(end) bytes of it: \(next), alone: \(alone)") }
      }
    }
  }

  @Test(arguments: responses) func aResponseLeavesNothingToTheNext(before: String) {
    let earlier = Array(before.utf8)
    for later in Self.responses {
      let bytes = Array(later.utf8)
      let alone = Parsed.response(bytes)
      for end in 0...earlier.count {
        var parser = ResponseHeadParser(HTTPOptions())
        var head = HTTPResponseHead()
        _ = Parsed.response(earlier, ends: [end], by: &parser, &head)
        parser.reset()
        let next = Parsed.response(bytes, by: &parser, &head)
        if next != alone { Issue.record("behind \(end) bytes of it: \(next), alone: \(alone)") }
      }
    }
  }

  /// A head is complete with the last byte of its empty line, and not one earlier.
  @Test(arguments: requests) func aPrefixIsNeverTakenForTheWhole(text: String) {
    let bytes = Array(text.utf8)
    guard case .head(_, let length) = Parsed.request(bytes) else { return }
    for end in 0..<length { #expect(Parsed.request(Array(bytes[..<end])) == .incomplete) }
    #expect(Parsed.request(Array(bytes[..<length])) == Parsed.request(bytes))
  }

  @Test func mutatedMessagesAreTheSameInWhateverPieces() {
    var random = SeededBits(seed: 0x4854_5450)
    for round in 0..<20_000 {
      let requests = mutate(Self.requests[round % Self.requests.count], &random)
      let responses = mutate(Self.responses[round % Self.responses.count], &random)
      let bodies = mutate(Self.bodies[round % Self.bodies.count], &random)
      let isSame =
        Parsed.request(requests) == Parsed.request(requests, ends: cuts(requests, &random))
        && Parsed.response(responses) == Parsed.response(responses, ends: cuts(responses, &random))
        && DecodedBody(bodies) == DecodedBody(bodies, ends: cuts(bodies, &random))
      if !isSame {
        Issue.record("round \(round): \(requests), \(responses), \(bodies)")
        return
      }
    }
  }

  /// What is taken is written in a way that is taken again, and means the same.
  @Test func whatIsWrittenIsReadAsItWasMeant() throws {
    var random = SeededBits(seed: 0x5752_4954)
    var taken = 0
    for round in 0..<20_000 {
      let bytes = mutate(Self.requests[round % Self.requests.count], &random)
      var parser = RequestHeadParser(HTTPOptions())
      var head = HTTPRequestHead(method: .get, target: "")
      var framing = RequestFraming()
      guard let progress = try? bytes.withUnsafeBytes({ try parser.parse($0, into: &head, &framing) }),
        case .complete = progress
      else { continue }
      taken += 1
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
      parser.reset()
      var again = HTTPRequestHead(method: .get, target: "")
      var framingAgain = RequestFraming()
      let end = try wire.withUnsafeBytes { try parser.parse($0, into: &again, &framingAgain) }
      #expect(end == .complete(length: wire.count))
      #expect(again.method == head.method)
      #expect(again.body == head.body)
      let wanted = wireText(head.fields)
      #expect(wireText(again.fields) == (framing.hasHost ? wanted : "host: fallback\r\n" + wanted))
      if framing.hasHost, head.target.hasPrefix("/"), head.method != .connect {
        #expect(again.target.hasSuffix(head.target))
      } else {
        #expect(again.target == head.target)
      }
    }
    #expect(taken > 500)
  }

  private func wireText(_ fields: HeaderFields) -> String {
    fields.withWireBytes { $0.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) } }
  }

  private func cuts(_ bytes: [UInt8], _ random: inout SeededBits) -> [Int] {
    var ends = (0..<6).map { _ in Int.random(in: 0...bytes.count, using: &random) }.sorted()
    ends.append(bytes.count)
    return ends
  }

  private func mutate(_ text: String, _ random: inout SeededBits) -> [UInt8] {
    var bytes = Array(text.utf8)
    let telling = Array("\r\n\t :,;\0%/\\0x-_Aa".utf8)
    for _ in 0..<Int.random(in: 1...3, using: &random) {
      let at = Int.random(in: 0..<max(1, bytes.count), using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0 where !bytes.isEmpty: bytes[at] = telling.randomElement(using: &random)!
      case 1 where !bytes.isEmpty: bytes.remove(at: at)
      case 2: bytes.insert(telling.randomElement(using: &random)!, at: min(at, bytes.count))
      case 3 where !bytes.isEmpty: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      default:
        let end = Int.random(in: at...min(bytes.count, at + 30), using: &random)
        bytes.insert(contentsOf: bytes[min(at, bytes.count)..<end], at: min(at, bytes.count))
      }
    }
    return bytes
  }
}
