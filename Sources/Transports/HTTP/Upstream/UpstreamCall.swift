internal import Pipeline

/// One attempt to have an upstream answer a request: its connection, and how far the response has come. What has grown is kept
/// for the next one on the same client connection.
final class UpstreamCall {
  // Plain numbers and flags are not checked for overlapping accesses: see `Exchange`.

  enum Stage {
    /// The final head has not come.
    case head
    case body
    /// The response has been handed on, or its rest is wanted by nobody.
    case done
  }

  private(set) var side: RelaySide?
  private(set) var link: UpstreamLink?
  private(set) var address: SocketAddress?
  /// Whether the connection has carried a request before.
  @exclusivity(unchecked) private(set) var isReused = false
  @exclusivity(unchecked) var stage = Stage.done

  /// What of the request the upstream has not taken yet.
  var outbox = ByteQueue()
  @exclusivity(unchecked) var isUploading = false
  /// The upstream takes no more of the request; it may have answered all the same.
  @exclusivity(unchecked) var refusesUpload = false
  /// When the head has to be there: counted from the end of the request.
  @exclusivity(unchecked) var headEnds = Instant.distantFuture
  /// When a second upstream is to be asked.
  @exclusivity(unchecked) var hedgeAt = Instant.distantFuture

  var parser: ResponseHeadParser
  @exclusivity(unchecked) var framing = ResponseFraming()
  /// The head that was parsed last.
  var head = HTTPResponseHead()
  /// A head that is not complete.
  var inbox = ByteQueue()
  /// Whether a byte of a response has come.
  @exclusivity(unchecked) var hasAnswered = false
  /// Payload of the response that came with the head, in the loop's scratch buffer.
  @exclusivity(unchecked) var part = 0..<0
  var body: BodyDecoder
  /// More came than belongs to the response: the connection cannot be trusted any further.
  @exclusivity(unchecked) var hasExcess = false
  @exclusivity(unchecked) var lastMove = Instant(nanoseconds: 0)

  init(_ options: HTTPOptions) {
    parser = ResponseHeadParser(options)
    body = BodyDecoder(options, from: .origin)
  }

  func begin(
    _ side: __owned RelaySide, over link: UpstreamLink, to address: SocketAddress?, isReused: Bool, now: Instant
  ) {
    // Nearly always the one of the last request: then nothing is counted.
    if self.link !== link { self.link = link }
    self.side = side
    self.address = address
    self.isReused = isReused
    stage = .head
    isUploading = false
    refusesUpload = false
    headEnds = .distantFuture
    hedgeAt = .distantFuture
    parser.reset()
    hasAnswered = false
    part = 0..<0
    body.beginNone()
    hasExcess = false
    lastMove = now
  }

  /// Each becomes what the other one was. So the one that everybody looks at stays the same object.
  func exchangeContents(with other: UpstreamCall) {
    swap(&side, &other.side)
    swap(&link, &other.link)
    swap(&address, &other.address)
    swap(&isReused, &other.isReused)
    swap(&stage, &other.stage)
    swap(&outbox, &other.outbox)
    swap(&isUploading, &other.isUploading)
    swap(&refusesUpload, &other.refusesUpload)
    swap(&headEnds, &other.headEnds)
    swap(&hedgeAt, &other.hedgeAt)
    swap(&parser, &other.parser)
    swap(&framing, &other.framing)
    swap(&head, &other.head)
    swap(&inbox, &other.inbox)
    swap(&hasAnswered, &other.hasAnswered)
    swap(&part, &other.part)
    swap(&body, &other.body)
    swap(&hasExcess, &other.hasExcess)
    swap(&lastMove, &other.lastMove)
  }

  /// How the response's body is written to a client of this version.
  func encoder(for version: HTTPVersion) -> BodyEncoder {
    switch framing.body {
    case .none: .bytes(0)
    case .bytes(let length): .bytes(length)
    case .chunked, .untilClose: BodyEncoder(length: nil, for: version)
    }
  }

  func beginBody() {
    switch framing.body {
    case .none: body.beginNone()
    case .bytes(let length): body.begin(length)
    case .chunked: body.beginChunked()
    case .untilClose: body.beginUntilClose()
    }
  }

  /// Whether the connection may carry another request.
  var isReusable: Bool {
    framing.keepsAlive && body.hasEnded && !hasExcess && !isUploading && !refusesUpload && outbox.isEmpty
  }

  /// Lets go of the connection, which is somebody else's from now on.
  func takeSide(on loop: Loop) -> RelaySide? {
    outbox.release(on: loop)
    inbox.release(on: loop)
    stage = .done
    var taken: RelaySide?
    swap(&taken, &side)
    return taken
  }

  /// Ends the connection so that the upstream takes nothing that it got for whole.
  func abort(on loop: Loop) { takeSide(on: loop)?.stream.abort() }

  /// Ends the connection in order.
  func close(on loop: Loop) { takeSide(on: loop)?.stream.close() }
}
