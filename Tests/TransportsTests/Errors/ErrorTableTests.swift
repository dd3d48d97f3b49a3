import Foundation
import Pipeline
import Testing

@testable import Transports

/// `Docs/Errors.md` is the promise; each of its rows is compared with what the transports do.
@Suite struct ErrorTableTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var kind: Rejection.Kind
    var cells: [String: String]
    var testDescription: String { kind.rawValue }
  }

  static let rows: [Row] = {
    let path = URL(fileURLWithPath: #filePath).pathComponents.dropLast(4).joined(separator: "/")
    guard let text = try? String(contentsOfFile: path + "/Docs/Errors.md", encoding: .utf8) else { return [] }
    func cells(_ line: Substring) -> [String] {
      line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().dropLast()
        .map { $0.trimmingCharacters(in: .whitespaces) }
    }
    var header: [String] = []
    var rows: [Row] = []
    for line in text.split(separator: "\n") where line.hasPrefix("|") {
      let cells = cells(line)
      if cells.first == "kind" { header = cells }
      guard cells.count == header.count, let kind = Rejection.Kind(rawValue: cells[0]) else { continue }
      rows.append(Row(kind: kind, cells: Dictionary(uniqueKeysWithValues: zip(header, cells))))
    }
    return rows
  }()

  @Test func everyKindHasExactlyOneRow() {
    #expect(Self.rows.map(\.kind.rawValue).sorted() == Rejection.Kind.allCases.map(\.rawValue).sorted())
  }

  @Test(arguments: rows) func sourceAndRetryAreAsTheTableSays(row: Row) {
    #expect(row.cells["source"] == row.kind.usualSource.rawValue)
    let retry =
      switch row.kind.usualRetry {
      case .safe: "safe"
      case .idempotentOnly: "idempotent only"
      case .pointless: "pointless"
      }
    #expect(row.cells["retry"] == retry)
  }

  @Test(arguments: rows) func tcpClosesAsTheTableSays(row: Row) {
    func name(_ close: TCPClose) -> String {
      switch close {
      case .finish: "FIN"
      case .reset: "RST"
      }
    }
    #expect(row.cells["TCP"] == name(TCPClose(for: row.kind, isCommitted: false)))
    #expect(row.cells["committed"] == name(TCPClose(for: row.kind, isCommitted: true)))
  }

  @Test(arguments: rows) func httpAnswersAsTheTableSays(row: Row) {
    #expect(row.cells["HTTP"] == String(HTTPRefusal.status(of: row.kind)))
  }

  @Test(arguments: rows.filter { $0.kind != .clientGone }) func socks5AnswersAsTheTableSays(row: Row) {
    let request = ClientBytes.connect(v4: [192, 0, 2, 1], port: 80)
    let login = ClientBytes.login("u", "p")
    let refusal = HandshakeTests.refusal(row.kind)
    /// What the server says from the refusal on.
    func answer(_ bytes: [UInt8], after goals: [SOCKS5Handshake.Goal], said: Int, late: [UInt8] = []) -> String {
      let run = HandshakeTranscript([bytes + late], goals: goals + [refusal])
      #expect(run.outcomes.last == .close)
      return cell(Array(run.sent.dropFirst(said)))
    }
    let free = ClientBytes.greeting(0, 2)
    // Kinds for which the greeting is not awaited end before it.
    let early = row.kind.leavesTimeToAnswer ? free + request : []
    #expect(row.cells["greeting"] == answer(early, after: [], said: 0))
    // Whether the client offers a password is asked without choosing one, by a client that has none.
    #expect(row.cells["method free"] == methodFree(row.kind, request))
    #expect(row.cells["password missing"] == answer(ClientBytes.greeting(0), after: [.credentials], said: 0))
    let unread = HandshakeTranscript([ClientBytes.greeting(2)], goals: [.credentials])
    #expect(unread.outcomes == [.awaitsMore])
    #expect(row.cells["password unread"] == passwordUnread(row.kind))
    #expect(row.cells["password read"] == answer(ClientBytes.greeting(2) + login, after: [.credentials], said: 2))
    #expect(row.cells["request"] == answer(ClientBytes.greeting(0) + request, after: [.destination], said: 2))
  }

  /// The greeting is read, no method is chosen, and the chain refuses.
  private func methodFree(_ kind: Rejection.Kind, _ request: [UInt8]) -> String {
    var handshake = SOCKS5Handshake()
    feed(&handshake, ClientBytes.greeting(0) + request)
    // A client that an authenticator took without a password is in this very state.
    guard case .credentials(nil) = handshake.advance(to: .credentials) else { return "?" }
    return finish(&handshake, kind, authenticated: true)
  }

  private func passwordUnread(_ kind: Rejection.Kind) -> String {
    var handshake = SOCKS5Handshake()
    feed(&handshake, ClientBytes.greeting(2))
    guard case .send = handshake.advance(to: .credentials), case .read = handshake.advance(to: .credentials) else {
      return "?"
    }
    return finish(&handshake, kind, authenticated: false)
  }

  private func feed(_ handshake: inout SOCKS5Handshake, _ bytes: [UInt8]) {
    guard case .read = handshake.advance(to: .credentials) else { return }
    handshake.receive { room in for byte in bytes { room.append(byte) } }
  }

  private func finish(_ handshake: inout SOCKS5Handshake, _ kind: Rejection.Kind, authenticated: Bool) -> String {
    var sent: [UInt8] = []
    let refusal = SOCKS5Handshake.Refusal(kind, isAuthenticated: authenticated)
    while case .send(let message) = handshake.advance(to: .refusal(refusal)) { sent += message.bytes }
    return cell(sent)
  }

  /// Bytes of ours in the words of the table.
  private func cell(_ sent: [UInt8]) -> String {
    switch (sent.count, sent.first) {
    case (0, _): "-"
    case (2, 5?): sent[1] == 0xff ? "FF" : "?"
    case (2, 1?): "login \(sent[1])"
    case (12, 5?): sent[1] == 0 ? "00, \(sent[3])" : "?"
    case (10, 5?): "\(sent[1])"
    default: "? \(sent)"
    }
  }
}
