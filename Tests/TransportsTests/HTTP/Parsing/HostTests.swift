import Pipeline
import Testing

@testable import Transports

@Suite struct HostTests {
  @Test(arguments: [
    "a", "a.b.", "A-b_c~", "a:", "a:1", "a:00080", "192.0.2.1:80", "[::1]", "[2001:db8::1]:443", "[::ffff:192.0.2.1]",
    "a%2db",
  ])
  func aHostIsTaken(host: String) {
    guard case .head(let text, _) = Parsed.request("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n") else {
      Issue.record("\(Parsed.request("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n"))")
      return
    }
    #expect(text == "GET / 1.1 [Host: \(host)] none")
  }

  @Test(arguments: [
    ("", "is empty: a host is needed"), (":80", "has no host"), ("a b", "holds a space, which no host may hold"),
    ("a,b", "holds ',', which no host may hold"), ("a/b", "holds '/', which no host may hold"),
    ("u@a", "holds '@', which no host may hold"), ("a?b", "holds '?', which no host may hold"),
    ("http://a", "has no port of 0 to 65535"), ("a:b", "has no port of 0 to 65535"),
    ("a:65536", "has no port of 0 to 65535"), ("a:-1", "has no port of 0 to 65535"),
    ("a:1:2", "has no port of 0 to 65535"), ("a:80 ,b", "has no port of 0 to 65535"),
    ("[::1", "holds no IPv6 address in its brackets"), ("[]", "holds no IPv6 address in its brackets"),
    ("[192.0.2.1]", "holds no IPv6 address in its brackets"), ("[v1.a]", "holds no IPv6 address in its brackets"),
    ("[::1]a", "holds 'a', which no host may hold"), ("::1", "has no host"),
    ("a%2", "has a % that is not followed by two hexadecimal digits"),
    ("a%zz", "has a % that is not followed by two hexadecimal digits"),
  ])
  func whatIsNoHostIsRefused(host: String, why: String) {
    #expect(
      Parsed.request("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n")
        == .refused(.malformed, "host: \"\(host)\" \(why)"))
  }

  @Test func octetsAboveASCIIAreNoHost() {
    #expect(
      Parsed.request("GET / HTTP/1.1\r\nHost: ä\r\n\r\n")
        == .refused(.malformed, "host: \"\\xc3\\xa4\" has no host"))
  }

  @Test func aMissingHostIsRefusedInHTTP11Only() {
    #expect(
      Parsed.request("GET / HTTP/1.1\r\nX: y\r\n\r\n")
        == .refused(.malformed, "no host field: HTTP/1.1 needs exactly one"))
    #expect(Parsed.request("GET / HTTP/1.0\r\n\r\n") == .head("GET / 1.0 [] none closes hostless", length: 18))
  }

  @Test(arguments: ["1.0", "1.1"]) func twoHostsAreRefused(version: String) {
    #expect(
      Parsed.request("GET / HTTP/\(version)\r\nHost: a\r\nX: y\r\nhOST: a\r\n\r\n")
        == .refused(.malformed, "host is there twice: exactly one is allowed"))
  }

  @Test(arguments: [
    ("GET http://a/", "b"), ("GET http://a/", "a:81"), ("GET http://a:81/", "a"), ("GET http://a/", "a."),
    ("GET http://a:81/", "a:82"), ("CONNECT a:443", "b"), ("CONNECT a:443", "a:444"), ("CONNECT a:443", "b:443"),
  ])
  func aHostThatContradictsTheTargetIsRefused(line: String, host: String) {
    #expect(
      Parsed.request("\(line) HTTP/1.1\r\nHost: \(host)\r\n\r\n")
        == .refused(.malformed, "host: \"\(host)\" contradicts the target"))
  }
}
