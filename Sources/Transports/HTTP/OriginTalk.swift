internal import Pipeline

/// One question over HTTP on one connection, and its answer collected: for services that are asked on behalf of an exchange,
/// and for checks of health.
struct OriginTalk {
  let stream: any ByteStream
  let address: SocketAddress?
  private let method: HTTPMethod
  private let name: String
  private var parser: ResponseHeadParser
  private var head = HTTPResponseHead()
  private var framing = ResponseFraming()
  private var body: BodyDecoder

  /// - Parameter name: what errors call the other side.
  init(
    _ stream: any ByteStream, _ address: SocketAddress?, _ method: HTTPMethod, _ options: HTTPOptions, from name: String
  ) {
    self.stream = stream
    self.address = address
    self.method = method
    self.name = name
    parser = ResponseHeadParser(options)
    body = BodyDecoder(options, from: .origin)
  }

  /// Whether the connection may carry another question.
  var keepsAlive: Bool { framing.keepsAlive }

  /// Sends the whole request and takes the whole answer. The stream stays the caller's.
  ///
  /// - Parameter limit: bytes of the body; more are no answer.
  /// - Returns: nil when the connection ended before a byte came back.
  mutating func ask(
    _ request: [UInt8], on runtime: ConnectionRuntime, atMost limit: Int
  ) async throws -> HTTPClientResponse? {
    var received: [UInt8] = []
    do {
      try await runtime.write(request, to: stream)
      guard try await runtime.read(from: stream, into: &received) else { return nil }
    } catch is StreamError {
      return nil
    }
    while try !takeHead(&received) {
      guard try await runtime.read(from: stream, into: &received) else {
        throw Rejection(.upstreamProtocol, detail: "\(name) closed in the middle of a head")
      }
    }
    var content: [UInt8] = []
    while true {
      try takeBody(&received, into: &content, atMost: limit)
      if body.hasEnded { break }
      guard try await runtime.read(from: stream, into: &received) else {
        guard body.endsWithClose else {
          throw Rejection(.upstreamProtocol, detail: "\(name) closed in the middle of a body")
        }
        break
      }
    }
    return HTTPClientResponse(status: head.status, fields: head.fields, body: content)
  }

  /// True when the final head is complete; what stands behind it is left in `received`.
  private mutating func takeHead(_ received: inout [UInt8]) throws -> Bool {
    while true {
      // The parser's pointers live for the length of the call.
      let progress = try received.withUnsafeBytes { try parser.parse($0, for: method, into: &head, &framing) }
      guard case .complete(let length) = progress else { return false }
      received.removeFirst(length)
      if framing.isInterim {
        parser.reset()
        if received.isEmpty { return false }
        continue
      }
      if framing.opensTunnel {
        throw Rejection(.upstreamProtocol, detail: "\(name) wants to speak another protocol")
      }
      switch framing.body {
      case .none: body.beginNone()
      case .bytes(let length): body.begin(length)
      case .chunked: body.beginChunked()
      case .untilClose: body.beginUntilClose()
      }
      return true
    }
  }

  private mutating func takeBody(_ received: inout [UInt8], into content: inout [UInt8], atMost limit: Int) throws {
    let step = try received.withUnsafeMutableBytes { try body.decode($0) }
    content.append(contentsOf: received[step.payload])
    // More than its head declared: nothing that comes on this connection could be told apart.
    if step.consumed < received.count { framing.keepsAlive = false }
    received.removeAll(keepingCapacity: true)
    if content.count > limit {
      throw Rejection(.upstreamProtocol, detail: "\(name) answered with more than \(limit) bytes")
    }
  }
}
