import Pipeline
import Testing

@testable import Transports

@Suite struct RequestTargetTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var line: String
    var host: String
    var why: String
    var testDescription: String { line.debugDescription }
    init(_ line: String, host: String = "a", _ why: String = "") {
      self.line = line
      self.host = host
      self.why = why
    }
  }

  static let good: [Case] = [
    Case("GET /"), Case("GET //b/../c"), Case("GET /?"), Case("GET /a%20b%2Fc"), Case("GET /a:b@c;d=e,f!$&'()*+~"),
    Case("GET /{a}|^`[]"), Case("GET /?a\\b%zz%0d%0a%"), Case("GET /%0b%10"), Case("GET /??/"), Case("OPTIONS *"),
    Case("OPTIONS /"),
    Case("GET http://a/"), Case("GET HTTP://A"), Case("GET http://a?b"), Case("GET http://a:80/b"),
    Case("GET http://a:8080/", host: "a:8080"), Case("GET http://a/", host: "A:80"),
    Case("GET http://[::1]/", host: "[::1]"),
    Case("CONNECT a:443"), Case("CONNECT a:443", host: "a:443"), Case("CONNECT [::1]:22", host: "[::1]"),
    Case("CONNECT 192.0.2.1:1", host: "192.0.2.1"), Case("GET /x" + String(repeating: "y", count: 100)),
  ]

  static let bad: [Case] = [
    Case("GET *", "target *: only OPTIONS may have it"),
    Case("GET a", "target begins with 'a': /path or http://host/path is allowed"),
    Case("GET a:80", "target begins with 'a': /path or http://host/path is allowed"),
    Case("GET **", "target begins with '*': /path or http://host/path is allowed"),
    Case("OPTIONS *x", "target begins with '*': /path or http://host/path is allowed"),
    Case("GET ?a", "target begins with '?': /path or http://host/path is allowed"),
    Case("GET \\a", "target begins with '\\': /path or http://host/path is allowed"),
    Case("GET http:/a", "target begins with 'h': /path or http://host/path is allowed"),
    Case("GET http://", "target begins with 'h': /path or http://host/path is allowed"),
    Case("GET http:///a", "host of the target: \"\" is empty: a host is needed"),
    Case("GET http://:80/", "host of the target: \":80\" has no host"),
    Case("GET https://a/", "target with https://: a request in the clear can ask for http:// only"),
    Case("GET ftp://a/", "target begins with 'f': /path or http://host/path is allowed"),
    Case("GET http://u@a/", "host of the target: \"u@a\" holds '@', which no host may hold"),
    Case("GET http://a#b", "host of the target: \"a#b\" holds '#', which no host may hold"),
    Case("GET http://a\\b/", "host of the target: \"a\\x5cb\" holds '\\', which no host may hold"),
    Case("GET /a#b", "path with '#', which must be percent-encoded"),
    Case("GET /a?b#c", "query with '#', which must be percent-encoded"),
    Case("GET /a\"b", "path with '\"', which must be percent-encoded"),
    Case("GET /<a>", "path with '<', which must be percent-encoded"),
    Case("GET /a\\b", "path with '\\', which must be percent-encoded"),
    Case("GET /a\u{0}b", "path with NUL, which must be percent-encoded"),
    Case("GET /a\rb", "path with a carriage return, which must be percent-encoded"),
    Case("GET /a\u{7f}", "path with octet 0x7f, which must be percent-encoded"),
    Case("GET /ä", "path with octet 0xc3, which must be percent-encoded"),
    Case("GET /?ä", "query with octet 0xc3, which must be percent-encoded"),
    Case("GET /%zz", "path with a % that is not followed by two hexadecimal digits"),
    Case("GET /%4", "path with a % that is not followed by two hexadecimal digits"),
    Case("GET /%", "path with a % that is not followed by two hexadecimal digits"),
    Case("GET /%00", "path with %00, %0a or %0d"),
    Case("GET /a%0D%0Ab", "path with %00, %0a or %0d"),
    Case("GET /a%0a", "path with %00, %0a or %0d"),
    Case("GET /a b", "path with a space, which must be percent-encoded"),
    Case("CONNECT a", "target of CONNECT: \"a\": host:port is needed"),
    Case("CONNECT a:", "target of CONNECT: \"a:\": host:port is needed"),
    Case("CONNECT a:0", "target of CONNECT: \"a:0\": host:port is needed"),
    Case("CONNECT a:65536", "target of CONNECT: \"a:65536\" has no port of 0 to 65535"),
    Case("CONNECT a:+1", "target of CONNECT: \"a:+1\" has no port of 0 to 65535"),
    Case("CONNECT :443", "target of CONNECT: \":443\" has no host"),
    Case("CONNECT /", "target of CONNECT: \"/\" has no host"),
    Case("CONNECT *", "target of CONNECT: \"*\" has no host"),
    Case("CONNECT http://a:80", "target of CONNECT: \"http://a:80\" has no port of 0 to 65535"),
    Case("CONNECT a:1/", "target of CONNECT: \"a:1/\" has no port of 0 to 65535"),
    Case("CONNECT u@a:1", "target of CONNECT: \"u@a:1\" holds '@', which no host may hold"),
    Case("CONNECT ::1:22", "target of CONNECT: \"::1:22\" has no host"),
  ]

  @Test(arguments: good) func eachFormIsTaken(_ c: Case) {
    let parts = c.line.split(separator: " ", maxSplits: 1)
    guard case .head(let text, _) = Parsed.request("\(c.line) HTTP/1.1\r\nHost: \(c.host)\r\n\r\n") else {
      Issue.record("\(Parsed.request("\(c.line) HTTP/1.1\r\nHost: \(c.host)\r\n\r\n"))")
      return
    }
    #expect(text == "\(parts[0]) \(parts[1]) 1.1 [Host: \(c.host)] none")
  }

  @Test(arguments: bad) func whatIsNoTargetIsRefused(_ c: Case) {
    #expect(Parsed.request("\(c.line) HTTP/1.1\r\nHost: \(c.host)\r\n\r\n") == .refused(.malformed, c.why))
  }
}
