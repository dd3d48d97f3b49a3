internal import Pipeline

/// The client's half of CONNECT (RFC 9110, 9.3.6).
///
/// The head of the answer is read as strictly as that of any origin; interim answers are passed over. Any 2xx opens the way,
/// and what lengths it declares is ignored. A refusal's body is not read: its connection is of no further use.
struct HTTPConnectHandshake: ProxyHandshake {
  private enum State {
    /// The request has to be sent.
    case request
    /// It is sent; the head of the answer is awaited.
    case answer
    /// The last word was heard.
    case over(ProxyHandshakeAction)
  }

  /// What is read at once; what comes behind the head is the destination's.
  private static let readSize = 4096

  private let target: ProxyTarget
  private let authorization: Secret<[UInt8]>?
  private var state = State.request
  private var inbox: [UInt8] = []
  private var parser: ResponseHeadParser
  private var head = HTTPResponseHead()
  private var framing = ResponseFraming()

  init(_ target: ProxyTarget, authorization: Secret<[UInt8]>?) {
    self.target = target
    self.authorization = authorization
    parser = ResponseHeadParser(HTTPOptions())
  }

  mutating func receive(_ bytes: Span<UInt8>) { for index in 0..<bytes.count { inbox.append(bytes[index]) } }

  mutating func takeRest() -> [UInt8] {
    defer { inbox = [] }
    return inbox
  }

  mutating func advance() -> ProxyHandshakeAction {
    switch state {
    case .request:
      state = .answer
      return .send(request)
    case .answer: return readAnswer()
    case .over(let action): return action
    }
  }

  private var request: [UInt8] {
    var bytes = Array("CONNECT \(target) HTTP/1.1\r\nhost: \(target)\r\n".utf8)
    if let authorization {
      bytes += Array("proxy-authorization: ".utf8) + authorization.reveal() + Array("\r\n".utf8)
    }
    return bytes + Array("\r\n".utf8)
  }

  private mutating func readAnswer() -> ProxyHandshakeAction {
    while true {
      let progress: HeadProgress
      do {
        // The parser's pointers live for the length of the call.
        progress = try inbox.withUnsafeBytes { try parser.parse($0, for: .connect, into: &head, &framing) }
      } catch {
        return end(.failed(Rejection(.upstreamProtocol, retry: .safe, detail: "\(Rejection(error).detail)")))
      }
      guard case .complete(let length) = progress else { return .read(atMost: Self.readSize) }
      inbox.removeFirst(length)
      guard framing.isInterim else { break }
      parser.reset()
    }
    return end(Self.verdict(head.status, retryAfter: retryAfter))
  }

  /// Seconds, where the proxy names some (RFC 9110, 10.2.3); a date is not read.
  private var retryAfter: Duration? {
    guard let text = head.fields["retry-after"], text.utf8.count <= 6, let seconds = UInt32(text) else { return nil }
    return .seconds(Int64(seconds))
  }

  /// The one place where the status of a CONNECT becomes a rejection. Nothing of the exchange has been sent, so trying again is
  /// safe, unless it would end the same way.
  static func verdict(_ status: Int, retryAfter: Duration? = nil) -> ProxyHandshakeAction {
    func rejection(
      _ kind: Rejection.Kind, _ retry: Rejection.RetryVerdict, source: Rejection.Source = .upstream, _ what: String
    ) -> Rejection {
      Rejection(kind, source: source, retry: retry, retryAfter: retryAfter, detail: "\(what) (status \(status))")
    }
    switch status {
    case 200...299: return .open
    case 401, 407:
      // Our own configuration is to blame, and no client should be asked for a password because of it.
      return .failed(rejection(.upstreamProtocol, .pointless, source: .proxy, "it refused our user name and password"))
    case 403, 451: return .refused(rejection(.forbidden, .pointless, "its rules do not allow it"))
    case 408, 504: return .refused(rejection(.connectTimeout, .safe, "it took too long"))
    case 429: return .refused(rejection(.overloaded, .safe, "it takes no more now"))
    case 503 where retryAfter != nil: return .refused(rejection(.overloaded, .safe, "it takes no more now"))
    // Whom it cannot reach, or whose name it cannot resolve, most proxies do not tell apart.
    case 500, 502, 503: return .refused(rejection(.hostUnreachable, .safe, "it cannot connect"))
    default: return .failed(rejection(.upstreamProtocol, .pointless, "it does not do CONNECT"))
    }
  }

  private mutating func end(_ action: ProxyHandshakeAction) -> ProxyHandshakeAction {
    state = .over(action)
    return action
  }
}
