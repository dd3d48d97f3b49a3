import Pipeline
import Testing

@testable import Transports

@Suite struct SOCKS5ClientHandshakeTests {
  private static let v4 = ProxyTarget.address(IPAddress("192.0.2.1")!, port: 443)
  private static let v6 = ProxyTarget.address(IPAddress("2001:db8::1")!, port: 80)
  private static let name = ProxyTarget.name(DomainName("example.com")!, port: 443)
  private static let login = PasswordCredentials(user: "us", password: "pwd")
  private static let bound: [UInt8] = [5, 0, 0, 1, 10, 0, 0, 1, 0, 80]
  private static let early = Array("SSH-2.0-x\r\n".utf8)

  private func run(
    _ target: ProxyTarget = v4, _ credentials: PasswordCredentials? = nil, _ bytes: [UInt8]
  ) -> ProxyTranscript {
    let handshake = SOCKS5ClientHandshake(target, credentials: credentials)
    let whole = ProxyTranscript(handshake, [bytes])
    // However the network cuts the proxy's bytes, it goes the same way.
    for size in 1...3 { #expect(ProxyTranscript(handshake, bytes, size: size) == whole) }
    return whole
  }

  @Test func anAddressIsAskedForWithoutALogin() {
    let seen = run(Self.v4, nil, [5, 0] + Self.bound + Self.early)
    #expect(seen.sent == [[5, 1, 0], [5, 1, 0, 1, 192, 0, 2, 1, 1, 187]])
    #expect(seen.end == "open")
    #expect(seen.rest == Self.early)
  }

  @Test func anIPv6AddressAndANameAreAskedForAsSuch() {
    let address: [UInt8] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    #expect(run(Self.v6, nil, [5, 0] + Self.bound).sent.last == [5, 1, 0, 4] + address + [0, 80])
    #expect(
      run(Self.name, nil, [5, 0] + Self.bound).sent.last == [5, 1, 0, 3, 11] + Array("example.com".utf8) + [1, 187])
  }

  @Test func aLoginIsSentWhenTheProxyWantsIt() {
    let seen = run(Self.v4, Self.login, [5, 2, 1, 0] + Self.bound)
    #expect(seen.sent == [[5, 2, 0, 2], [1, 2, 117, 115, 3, 112, 119, 100], [5, 1, 0, 1, 192, 0, 2, 1, 1, 187]])
    #expect(seen.end == "open")
    // A proxy that wants none does not get the password.
    #expect(run(Self.v4, Self.login, [5, 0] + Self.bound).sent.count == 2)
  }

  @Test(
    arguments: [
      [5, 0, 0, 4] + [UInt8](repeating: 0, count: 18), [5, 0, 0, 3, 4, 97, 98, 99, 100, 0, 80], [5, 0, 0, 3, 0, 0, 80],
    ] as [[UInt8]])
  func everyFormOfTheReplysAddressIsReadToItsEnd(reply: [UInt8]) {
    let seen = run(Self.v4, nil, [5, 0] + reply + Self.early)
    #expect(seen.end == "open")
    #expect(seen.rest == Self.early)
  }

  @Test func anUnfinishedAnswerIsAwaited() {
    for count in 0..<(2 + Self.bound.count) {
      #expect(run(Self.v4, nil, Array(([5, 0] + Self.bound).prefix(count))).end == "wants more")
    }
  }

  @Test func everyReplyHasItsKindAndVerdict() {
    let ends: [(UInt8, String)] = [
      (1, "refused hostUnreachable upstream safe: it failed (REP 1)"),
      (2, "refused forbidden upstream pointless: its rules do not allow it (REP 2)"),
      (3, "refused networkUnreachable upstream safe: network unreachable (REP 3)"),
      (4, "refused hostUnreachable upstream safe: host unreachable (REP 4)"),
      (5, "refused connectionRefused upstream safe: connection refused (REP 5)"),
      (6, "refused connectTimeout upstream safe: it took too long (REP 6)"),
      (7, "failed upstreamProtocol upstream pointless: it does not know CONNECT (REP 7)"),
      (8, "refused networkUnreachable upstream safe: it does not support this type of address (REP 8)"),
      (9, "failed upstreamProtocol upstream safe: an unknown answer (REP 9)"),
    ]
    for (code, end) in ends {
      #expect(run(Self.v4, nil, [5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0]).end == end)
      // Some close behind the code.
      #expect(run(Self.v4, nil, [5, 0, 5, code]).end == end)
    }
  }

  @Test func aRefusedLoginIsOurOwnFault() {
    let denied = "failed upstreamProtocol proxy pointless: "
    #expect(
      run(Self.v4, Self.login, [5, 2, 1, 1]).end == denied + "it refused the user name or the password (status 1)")
    #expect(run(Self.v4, nil, [5, 0xff]).end == denied + "it wants a login, and none is configured")
    #expect(
      run(Self.v4, Self.login, [5, 0xff]).end
        == denied + "it takes neither no login nor one by user name and password")
  }

  @Test func whatIsNoSOCKS5IsSeenAtItsFirstByte() {
    let broken = "failed upstreamProtocol upstream safe: "
    #expect(run(Self.v4, nil, Array("HTTP/1.1 400\r\n".utf8)).end == broken + "its first byte is 72: no SOCKS5")
    #expect(run(Self.v4, nil, [5, 1]).end == broken + "it chose method 1, which was not offered")
    #expect(run(Self.v4, nil, [5, 2]).end == broken + "it chose method 2, which was not offered")
    #expect(
      run(Self.v4, Self.login, [5, 2, 5, 0]).end == broken + "its answer to the login is of version 5, not 1")
    #expect(run(Self.v4, nil, [5, 0, 4, 0]).end == broken + "its reply is of version 4, not 5")
    #expect(
      run(Self.v4, nil, [5, 0, 5, 0, 0, 9]).end == broken + "its reply has an address of the unknown type 9")
  }
}

@Suite struct HTTPConnectHandshakeTests {
  private static let target = ProxyTarget.name(DomainName("example.com")!, port: 443)
  private static let early = Array("SSH-2.0-x\r\n".utf8)

  private func run(_ text: String, _ target: ProxyTarget = target, user: String? = nil) -> ProxyTranscript {
    let proxy = FarProxy.http("p:1", user: user, password: user.map { _ in "secret" })
    let handshake = HTTPConnectHandshake(target, authorization: proxy.authorization)
    let whole = ProxyTranscript(handshake, [Array(text.utf8)])
    for size in [1, 2, 3, 7] { #expect(ProxyTranscript(handshake, Array(text.utf8), size: size) == whole) }
    return whole
  }

  private func sent(_ target: ProxyTarget, user: String? = nil) -> String {
    String(decoding: run("", target, user: user).sent.joined(), as: UTF8.self)
  }

  @Test func theRequestNamesTheTargetTwiceAndNothingElse() {
    #expect(sent(Self.target) == "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n")
    #expect(
      sent(.address(IPAddress("2001:db8::1")!, port: 22))
        == "CONNECT [2001:db8::1]:22 HTTP/1.1\r\nhost: [2001:db8::1]:22\r\n\r\n")
  }

  @Test func theLoginGoesWithTheFirstRequest() {
    #expect(
      sent(Self.target, user: "ann")
        == "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n"
        + "proxy-authorization: Basic YW5uOnNlY3JldA==\r\n\r\n")
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 Connection established\r\n\r\n", "HTTP/1.1 204 \r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: 1.1 x\r\n\r\n",
  ])
  func everySuccessOpensTheWayWhateverLengthItDeclares(answer: String) {
    let seen = run(answer + String(decoding: Self.early, as: UTF8.self))
    #expect(seen.end == "open")
    #expect(seen.rest == Self.early)
  }

  @Test func everyStatusHasItsKindAndVerdict() {
    let ends: [(String, String)] = [
      ("401 No", "failed upstreamProtocol proxy pointless: it refused our user name and password (status 401)"),
      ("407 No", "failed upstreamProtocol proxy pointless: it refused our user name and password (status 407)"),
      ("403 No", "refused forbidden upstream pointless: its rules do not allow it (status 403)"),
      ("451 No", "refused forbidden upstream pointless: its rules do not allow it (status 451)"),
      ("408 No", "refused connectTimeout upstream safe: it took too long (status 408)"),
      ("504 No", "refused connectTimeout upstream safe: it took too long (status 504)"),
      ("429 No", "refused overloaded upstream safe: it takes no more now (status 429)"),
      ("503 No\r\nRetry-After: 7", "refused overloaded upstream safe: it takes no more now (status 503)"),
      ("503 No", "refused hostUnreachable upstream safe: it cannot connect (status 503)"),
      ("502 No", "refused hostUnreachable upstream safe: it cannot connect (status 502)"),
      ("500 No", "refused hostUnreachable upstream safe: it cannot connect (status 500)"),
      ("405 No", "failed upstreamProtocol upstream pointless: it does not do CONNECT (status 405)"),
      ("302 No", "failed upstreamProtocol upstream pointless: it does not do CONNECT (status 302)"),
    ]
    for (answer, end) in ends { #expect(run("HTTP/1.1 \(answer)\r\n\r\n").end == end) }
    guard case .refused(let rejection) = HTTPConnectHandshake.verdict(503, retryAfter: .seconds(7)) else {
      Issue.record("503 is a refusal")
      return
    }
    #expect(rejection.retryAfter == .seconds(7))
  }

  @Test func anUnfinishedHeadIsAwaitedAndAnEndlessOneIsNot() {
    let answer = "HTTP/1.1 200 OK\r\nVia: 1.1 x\r\n\r\n"
    for count in 0..<answer.utf8.count {
      #expect(run(String(decoding: answer.utf8.prefix(count), as: UTF8.self)).end == "wants more")
    }
    let endless =
      "HTTP/1.1 200 OK\r\n" + String(repeating: "x: " + String(repeating: "y", count: 1000) + "\r\n", count: 100)
    #expect(run(endless).end.hasPrefix("failed upstreamProtocol upstream safe: "))
  }

  @Test(arguments: ["SSH-2.0-x\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 200 OK\n\n", "\u{5}\u{0}"])
  func whatIsNoHTTPIsRefused(answer: String) {
    #expect(run(answer).end.hasPrefix("failed upstreamProtocol upstream safe: "))
  }
}
