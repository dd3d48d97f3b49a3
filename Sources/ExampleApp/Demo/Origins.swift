import Pipeline

/// Sends every byte back: the built-in upstream of the raw TCP demo.
struct Echo: Destination {
  func serve(_ exchange: Exchange) async throws -> Summary {
    let client = exchange.clientStream
    var bytes: [UInt8] = []
    while try await exchange.read(from: client, into: &bytes) {
      exchange.traffic.up += UInt64(bytes.count)
      exchange.isCommitted = true
      try await exchange.write(bytes, to: client)
      exchange.traffic.down += UInt64(bytes.count)
      bytes.removeAll(keepingCapacity: true)
    }
    try client.finishWriting()
    return Summary(traffic: exchange.traffic, endedBy: .client)
  }
}

/// Answers any HTTP/1.x request with a greeting: the built-in upstream of the SOCKS5 demo.
///
/// It reads no more of HTTP than a demo needs: the head of one request, then it answers and closes.
struct Hello: Destination {
  private let headLimit = 16 * 1024

  func serve(_ exchange: Exchange) async throws -> Summary {
    let client = exchange.clientStream
    var head: [UInt8] = []
    while !head.containsEndOfHead, try await exchange.read(from: client, into: &head, atMost: 2048) {
      guard head.count <= headLimit else { break }
    }
    exchange.traffic.up = UInt64(head.count)
    let answer = Self.answer(to: head)
    exchange.isCommitted = true
    try await exchange.write(answer, to: client)
    exchange.traffic.down = UInt64(answer.count)
    try client.finishWriting()
    return Summary(traffic: exchange.traffic, endedBy: .proxy)
  }

  private static func answer(to head: [UInt8]) -> [UInt8] {
    let line = String(decoding: head.prefix { $0 != UInt8(ascii: "\r") && $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    let words = line.split(separator: " ")
    guard head.containsEndOfHead, words.count == 3, words[2].hasPrefix("HTTP/1.") else {
      return Array("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".utf8)
    }
    // The path may hold anything: only visible ASCII is repeated.
    let path = String(String.UnicodeScalarView(words[1].unicodeScalars.filter { (0x21...0x7e).contains($0.value) }))
    let body = "Hello from Sluice's built-in origin. You asked for \(path)\n"
    let fields = "Content-Type: text/plain\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
    return Array(("HTTP/1.1 200 OK\r\n" + fields + (words[0] == "HEAD" ? "" : body)).utf8)
  }
}

extension [UInt8] {
  fileprivate var containsEndOfHead: Bool {
    guard count >= 4 else { return false }
    return (0...(count - 4)).contains {
      self[$0] == 13 && self[$0 + 1] == 10 && self[$0 + 2] == 13 && self[$0 + 3] == 10
    }
  }
}
