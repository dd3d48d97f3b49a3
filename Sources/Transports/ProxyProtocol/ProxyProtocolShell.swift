internal import Pipeline

// What `ProxyProtocolParser` and `ProxyProtocolWriter` know, done on a connection.

extension Connection {
  /// Takes the header with which the connection has to begin; what the client sent behind it is read next.
  ///
  /// - Throws: `Rejection`: `malformed`; `handshakeTimeout` when it is not complete in time; `clientGone`; `draining`.
  func receiveProxyHeader(within limit: Duration) async throws -> ProxyProtocolHeader {
    var parser = ProxyProtocolParser()
    var bytes: [UInt8] = []
    let mine = now + limit
    deadline = mine
    defer { deadline = .distantFuture }
    do {
      while try await read(from: client, into: &bytes, atMost: ProxyProtocolParser.maxLength - bytes.count) {
        guard case .complete(let header, let length) = try parser.parse(bytes.span) else { continue }
        client.pushBack(bytes.span.bytes.extracting(length..<bytes.count))
        return header
      }
    } catch let exceeded as DeadlineExceeded where exceeded.deadline == mine {
      throw Rejection(
        .handshakeTimeout, detail: "PROXY protocol: no complete header after \(limit), but \(bytes.count) bytes",
        cause: exceeded)
    } catch let failure as StreamError {
      throw Rejection(.clientGone, detail: "before its PROXY protocol header", cause: failure)
    }
    // Balancers look whether a port is open, and go.
    if bytes.isEmpty { throw Rejection(.clientGone, detail: "without a PROXY protocol header") }
    throw ProxyProtocolParser.fault("the connection ended after \(bytes.count) bytes of a header")
  }

  /// Tells an upstream that was just dialled who the client is.
  func sendProxyHeader(
    of exchange: Exchange, to upstream: any ByteStream, as version: ProxyProtocolVersion
  ) async throws {
    var header: [UInt8] = []
    ProxyProtocolWriter.append(
      version, source: exchange.client, destination: announcedDestination ?? client.localAddress, to: &header)
    do {
      try await write(header, to: upstream)
    } catch let failure as StreamError {
      throw Rejection(
        .upstreamReset, retry: .safe, detail: "before it was told of the client (PROXY protocol)", cause: failure)
    }
  }
}

/// Looks at the first bytes of a client that must not speak the PROXY protocol. They pass as they come; the byte that would
/// complete a header's signature does not. So no upstream ever reads one that a client made up.
final class FirstBytes {
  enum Verdict { case undecided, harmless, header }

  private let report: () -> Void
  private var seen = 0
  private var isBinary = false

  /// - Parameter report: called once, when a signature was complete.
  init(report: @escaping () -> Void) { self.report = report }

  func judge(_ bytes: UnsafeRawBufferPointer) -> Verdict {
    for byte in bytes {
      if seen == 0 { isBinary = byte == ProxyProtocolHeader.v2Signature[0] }
      let signature = isBinary ? ProxyProtocolHeader.v2Signature : ProxyProtocolHeader.v1Signature
      guard byte == signature[seen] else { return .harmless }
      seen += 1
      if seen == signature.count {
        report()
        return .header
      }
    }
    return .undecided
  }
}
