import Foundation
import Pipeline
import Testing

@testable import Transports

/// Fields that nobody here has to know pass as they are: names, values, order, and how many there are.
@Suite struct FieldOrderTests {
  private static let odd =
    "X-Foo: foo\r\nCookie: a=1, b=0\r\nX-FOO: bar\r\nCookie: c=2\r\nx-foo: bazz\r\nX-Empty:\r\n_private: 1\r\n"
    + "X-$Prototype: 1.6\r\n.Et-Cookie: x\r\n1: 2\r\nX-Quoted: \"a, \\\"b\\\"\";  c\r\nX-Plus: ++++++++++\r\n"

  /// As they are written anew: white space around values is one space.
  private static let expected = [
    "X-Foo: foo", "Cookie: a=1, b=0", "X-FOO: bar", "Cookie: c=2", "x-foo: bazz", "X-Empty: ", "_private: 1",
    "X-$Prototype: 1.6", ".Et-Cookie: x", "1: 2", "X-Quoted: \"a, \\\"b\\\"\";  c", "X-Plus: ++++++++++",
  ]

  private static func lines(_ head: RawHead?) -> [String] {
    let all = (head?.text ?? "").components(separatedBy: "\r\n")
    return all.filter { line in expected.contains { $0.hasPrefix(line.prefix { $0 != ":" } + ":") } }
  }

  @Test func fieldsOfARequestPassInTheirOrder() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    try await withReverseProxy(to: backend) { proxy in
      let answer = try proxy.get("/", Self.odd)
      #expect(answer?.status == 200)
    }
    #expect(Self.lines(backend.requests.first?.head) == Self.expected)
  }

  @Test func fieldsOfAResponsePassInTheirOrder() async throws {
    let backend = try ScriptedBackend.answering(response("ok", Self.odd))
    try await withReverseProxy(to: backend) { proxy in
      let answer = try proxy.get()
      #expect(Self.lines(answer?.head) == Self.expected)
    }
  }

  @Test func setCookieIsNeverJoined() async throws {
    let backend = try ScriptedBackend.answering(response("ok", "Set-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\n"))
    try await withReverseProxy(to: backend) { proxy in
      let answer = try proxy.get()
      #expect(answer?.head["set-cookie"] == ["a=1", "b=2"])
    }
  }

  @Test(arguments: ["PURGE", "QUERY", "LINK", "M-SEARCH", "BREW", "get"]) func anyMethodGoesOn(method: String)
    async throws
  {
    let backend = try ScriptedBackend.answering { head, peer in
      response("\(head.method) " + (try peer.read(Int(head["content-length"].first ?? "") ?? 0)))
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 0..<2 {
        let answer = try client.ask("\(method) / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")
        #expect(answer?.body == "\(method) abc")
      }
    }
  }
}
