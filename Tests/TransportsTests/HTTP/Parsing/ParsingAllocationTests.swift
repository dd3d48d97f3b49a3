import CMallocCount
import Pipeline
import Testing

@testable import Transports

/// Nothing of a message allocates once the buffers have grown.
@Suite struct ParsingAllocationTests {
  private let request = Array(
    """
    POST /api/v1/things?page=2&size=50 HTTP/1.1\r
    Host: shop.example:8080\r
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r
    Accept:text/html\r
    Connection: keep-alive, X-Hop\r
    X-Hop: 1\r
    Cookie: session=0123456789abcdef\r
    Transfer-Encoding: chunked\r
    TE: trailers\r
    \r

    """.utf8)
  private let response = Array(
    "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type:text/plain\r\nContent-Length: 128\r\n\r\n"
      .utf8)
  private let body = Array("5;ext=1\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\n\r\n".utf8)

  private var isDebugBuild: Bool {
    #if DEBUG
      true
    #else
      false
    #endif
  }

  @Test(.enabled(if: malloc_is_counted() != 0)) func aWarmParserAllocatesNothing() throws {
    let options = HTTPOptions()
    var requests = RequestHeadParser(options)
    var responses = ResponseHeadParser(options)
    var chunks = ChunkedDecoder(options, from: .client)
    var requestHead = HTTPRequestHead(method: .get, target: "")
    var responseHead = HTTPResponseHead()
    var framing = RequestFraming()
    var responseFraming = ResponseFraming()
    var wire: [UInt8] = []
    var bytes = 0

    func round() throws {
      wire.removeAll(keepingCapacity: true)
      requests.reset()
      _ = try request.withUnsafeBytes { try requests.parse($0, into: &requestHead, &framing) }
      HeadSerializer.append(requestHead, OutgoingRequest(body: .chunked, acceptsTrailers: true), to: &wire)
      chunks.reset()
      var at = 0
      var hasEnded = false
      while !hasEnded {
        switch try body.withUnsafeBytes({ try chunks.next(UnsafeRawBufferPointer(rebasing: $0[at...])) }) {
        case .data(let range, let consumed):
          ChunkSerializer.appendHead(range.count, to: &wire)
          ChunkSerializer.appendEnd(to: &wire)
          at += consumed
        case .needMore(let consumed): at += consumed
        case .end(let consumed):
          ChunkSerializer.appendLast(trailers: chunks.trailers, to: &wire)
          at += consumed
          hasEnded = true
        }
      }
      responses.reset()
      _ = try response.withUnsafeBytes {
        try responses.parse($0, for: requestHead.method, into: &responseHead, &responseFraming)
      }
      HeadSerializer.append(responseHead, OutgoingResponse(body: .length(128)), to: &wire)
      bytes += wire.count
    }

    for _ in 0..<10 { try round() }
    let before = malloc_count_of_this_thread()
    for _ in 0..<100 { try round() }
    let allocations = malloc_count_of_this_thread() &- before
    // A debug build boxes what an optimised one keeps on the stack.
    #expect(allocations <= (isDebugBuild ? 10_000 : 0))
    #expect(bytes > 0)
  }
}
