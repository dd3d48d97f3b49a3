import Foundation
import Pipeline
import Synchronization

@testable import Transports

/// The head of a message as it came over the wire.
struct RawHead: Sendable, Equatable {
  /// Start line and fields, each with its line end, and the empty line.
  var text: String

  var startLine: String { lines[0] }
  private var lines: [String] { text.components(separatedBy: "\r\n") }

  /// The values of a field, in order; names are compared without regard to case.
  subscript(name: String) -> [String] {
    lines.dropFirst().filter { $0.lowercased().hasPrefix(name.lowercased() + ":") }
      .map { $0.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces) }
  }

  /// The second word of the status line.
  var status: Int? { Int(startLine.split(separator: " ").dropFirst().first ?? "") }
  var method: String { String(startLine.split(separator: " ").first ?? "") }
  var target: String { String(startLine.split(separator: " ").dropFirst().first ?? "") }
}

/// A whole response.
struct RawResponse: Sendable, Equatable {
  var head: RawHead
  var body: String
  var trailers = ""
  /// False when the connection ended before the body did.
  var isWhole = true

  var status: Int? { head.status }
}

/// One end of a connection that speaks HTTP byte by byte as a test wants: the client, or the backend.
final class HTTPPeer: @unchecked Sendable {
  // Sound as Sendable: used by one thread at a time.
  let peer: BlockingPeer
  /// Everything that was received.
  private(set) var received: [UInt8] = []
  private var buffer: [UInt8] = []

  init(_ peer: BlockingPeer) { self.peer = peer }

  static func connect(_ address: SocketAddress) throws -> HTTPPeer { HTTPPeer(try BlockingPeer.connect(address)) }

  func send(_ text: String) throws { try peer.send(Array(text.utf8)) }
  func close() { peer.close() }

  /// False at the end.
  private func receiveMore() throws -> Bool {
    let bytes = try peer.receive()
    received += bytes
    buffer += bytes
    return !bytes.isEmpty
  }

  /// Up to and with the next `mark`; nil when the end comes first.
  func read(through mark: String) throws -> String? {
    let mark = Array(mark.utf8)
    var from = 0
    while true {
      if let end = buffer.firstRange(of: mark, from: from) {
        defer { buffer.removeFirst(end) }
        return String(decoding: buffer[..<end], as: UTF8.self)
      }
      from = max(0, buffer.count - mark.count + 1)
      if try !receiveMore() { return nil }
    }
  }

  /// The next head; nil when the connection has ended.
  func readHead() throws -> RawHead? { try read(through: "\r\n\r\n").map(RawHead.init) }

  /// So many bytes, fewer at the end.
  func read(_ count: Int) throws -> String {
    while buffer.count < count, try receiveMore() {}
    let taken = min(count, buffer.count)
    defer { buffer.removeFirst(taken) }
    return String(decoding: buffer[..<taken], as: UTF8.self)
  }

  /// So many bytes, fewer at the end; for bodies that are large.
  func readBytes(_ count: Int) throws -> [UInt8] {
    let taken = min(count, buffer.count)
    defer { buffer.removeFirst(taken) }
    return try Array(buffer[..<taken]) + peer.receive(exactly: count - taken)
  }

  /// Everything to the end.
  func readToEnd() throws -> String {
    while try receiveMore() {}
    defer { buffer = [] }
    return String(decoding: buffer, as: UTF8.self)
  }

  /// The payload of a chunked body and its trailers; nil when it is cut.
  func readChunks() throws -> (body: String, trailers: String)? {
    var body = ""
    while true {
      guard let line = try read(through: "\r\n"), let size = Int(line.dropLast(1), radix: 16) else { return nil }
      if size == 0 { break }
      let chunk = try read(size + 2)
      guard chunk.utf8.count == size + 2, chunk.hasSuffix("\r\n") else { return nil }
      body += chunk.dropLast(1)
    }
    var trailers = ""
    while true {
      guard let line = try read(through: "\r\n") else { return nil }
      if line == "\r\n" { return (body, trailers) }
      trailers += line
    }
  }

  /// The next response, interim ones passed over unless `interim` takes them; nil when the connection ended before it.
  func readResponse(to method: String = "GET", interim: ((RawHead) -> Void)? = nil) throws -> RawResponse? {
    guard let head = try readHead(), let status = head.status else { return nil }
    if status < 200, status != 101 {
      interim?(head)
      return try readResponse(to: method, interim: interim)
    }
    if method == "HEAD" || status == 204 || status == 304 || status == 101 || (method == "CONNECT" && status == 200) {
      return RawResponse(head: head, body: "")
    }
    if let length = head["content-length"].first.flatMap({ Int($0) }) {
      let body = try read(length)
      return RawResponse(head: head, body: body, isWhole: body.utf8.count == length)
    }
    if head["transfer-encoding"] == ["chunked"] {
      guard let (body, trailers) = try readChunks() else { return RawResponse(head: head, body: "", isWhole: false) }
      return RawResponse(head: head, body: body, trailers: trailers)
    }
    return RawResponse(head: head, body: try readToEnd())
  }

  /// Sends a request and reads its response.
  func ask(_ request: String) throws -> RawResponse? {
    try send(request)
    return try readResponse(to: String(request.prefix { $0 != " " }))
  }

  func get(_ target: String = "/", _ fields: String = "") throws -> RawResponse? {
    try ask("GET \(target) HTTP/1.1\r\nHost: test\r\n\(fields)\r\n")
  }

  /// Lets so many milliseconds pass, or fewer when the other side goes: for an upstream that is slow on purpose.
  func dawdle(milliseconds: Int32) {
    var entry = pollfd(fd: peer.fd, events: 0, revents: 0)
    _ = poll(&entry, 1, milliseconds)
  }

  /// Whether the other side has ended the connection, in order or by a reset.
  func hasEnded() throws -> Bool {
    if !buffer.isEmpty { return false }
    do {
      return try !receiveMore()
    } catch {
      return true
    }
  }
}

extension [UInt8] {
  /// The index behind the first occurrence.
  fileprivate func firstRange(of mark: [UInt8], from start: Int) -> Int? {
    guard count >= mark.count + start else { return nil }
    for i in start...(count - mark.count) where self[i] == mark[0] && self[i..<(i + mark.count)].elementsEqual(mark) {
      return i + mark.count
    }
    return nil
  }
}

/// A backend that does what a test says, one script for each connection, and records what came in.
final class ScriptedBackend: Sendable {
  /// A request as the backend got it.
  struct Seen: Sendable {
    /// 1 for the first connection.
    var connection: Int
    var head: RawHead
  }

  private let origin: TestOrigin
  private let opened: Atomic<Int>
  private let seenRequests: Mutex<[Seen]>
  /// The numbers of connections that ended, as they end.
  let ended: Mailbox<Int>
  /// Heads, as they come.
  let arrived: Mailbox<RawHead>
  var address: SocketAddress { origin.address }

  /// How many connections were made.
  var connections: Int { opened.load(ordering: .sequentiallyConsistent) }
  var requests: [Seen] { seenRequests.withLock { $0 } }

  /// - Parameter script: gets each connection; it ends when this returns.
  init(_ script: @escaping @Sendable (Session) throws -> Void) throws {
    let shared = Shared()
    let ended = Mailbox<Int>()
    self.ended = ended
    opened = Atomic(0)
    seenRequests = Mutex([])
    arrived = shared.arrived
    origin = try TestOrigin { peer in
      let session = Session(peer, shared, number: shared.next())
      defer { ended.put(session.number) }
      try script(session)
    }
    shared.backend = self
  }

  /// Answers every request on every connection with what `answer` says; where it says nil, the connection ends.
  static func answering(_ answer: @escaping @Sendable (RawHead, HTTPPeer) throws -> String?) throws -> ScriptedBackend {
    try ScriptedBackend { session in
      while let head = try session.readHead() {
        guard let text = try answer(head, session.peer) else { return }
        try session.peer.send(text)
      }
    }
  }

  /// Answers every request with this.
  static func answering(_ response: String) throws -> ScriptedBackend { try answering { _, _ in response } }

  final class Shared: @unchecked Sendable {
    // Sound as Sendable: set once before the first connection.
    weak var backend: ScriptedBackend?
    let arrived = Mailbox<RawHead>()

    func next() -> Int { backend?.opened.add(1, ordering: .sequentiallyConsistent).newValue ?? 0 }

    func note(_ seen: Seen) {
      backend?.seenRequests.withLock { $0.append(seen) }
      arrived.put(seen.head)
    }
  }

  /// One connection.
  struct Session: Sendable {
    let peer: HTTPPeer
    let number: Int
    private let shared: Shared

    fileprivate init(_ peer: BlockingPeer, _ shared: Shared, number: Int) {
      self.peer = HTTPPeer(peer)
      self.shared = shared
      self.number = number
    }

    /// The next head, which is recorded; nil when the connection has ended.
    func readHead() throws -> RawHead? {
      guard let head = try peer.readHead() else { return nil }
      shared.note(Seen(connection: number, head: head))
      return head
    }
  }
}

/// A response with a length.
func response(_ body: String = "", status: String = "200 OK", _ fields: String = "") -> String {
  "HTTP/1.1 \(status)\r\n\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}

extension SocketAddress {
  /// As `Upstream` takes it.
  var text: String { description }

  // Each on a connection of its own.

  func ask(_ request: String) throws -> RawResponse? { try HTTPPeer.connect(self).ask(request) }

  func get(_ target: String = "/", _ fields: String = "") throws -> RawResponse? {
    try HTTPPeer.connect(self).get(target, fields)
  }

  func readToEnd() throws -> String { try HTTPPeer.connect(self).readToEnd() }
}

/// A reverse proxy before `backend`, on one loop so that its pool is one.
func withReverseProxy(
  to backend: ScriptedBackend, _ edit: @escaping (inout ListenerOptions) -> Void = { _ in },
  body: @escaping @Sendable (SocketAddress) throws -> Void
) async throws {
  var options = ListenerOptions()
  edit(&options)
  try await withServer(options: { $0.workers = 1 }) {
    Listener(.http, on: "127.0.0.1:0") {
    } to: {
      Upstream(backend.address.text)
    }.options { $0 = options }
  } body: { server in
    let address = server.address()
    try await onThread { try body(address) }
  }
}
