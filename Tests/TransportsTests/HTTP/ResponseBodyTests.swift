import Pipeline
import Testing

@testable import Transports

/// Bodies of responses: how long they are for the client, and that a cut is seen as one.
@Suite struct ResponseBodyTests {
  @Test func headAnd204And304HaveNoBody() async throws {
    let backend = try ScriptedBackend.answering { head, _ in
      switch head.target {
      case "/204": "HTTP/1.1 204 No Content\r\n\r\n"
      case "/304": "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n"
      default: head.method == "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n" : response("got")
      }
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let head = try client.ask("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n")
      #expect(head?.head["content-length"] == ["1234"])
      let noContent = try client.get("/204")
      #expect(noContent?.status == 204)
      #expect(noContent?.head["content-length"] == [])
      #expect(noContent?.head["transfer-encoding"] == [])
      let notModified = try client.get("/304")
      #expect(notModified?.head["content-length"] == ["77"])
      #expect(try client.get("/")?.body == "got")
    }
    #expect(backend.connections == 1)
  }

  @Test func anEmptyBodyIsWhole() async throws {
    let backend = try ScriptedBackend.answering(response())
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 1...3 {
        let answer = try client.get()
        #expect(answer?.body == "")
        #expect(answer?.head["content-length"] == ["0"])
      }
    }
    #expect(backend.connections == 1)
  }

  @Test func aBodyThatACloseEndsBecomesChunked() async throws {
    let text = String(repeating: "0123456789", count: 30_000)
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send("HTTP/1.1 200 OK\r\n\r\n" + text)
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.get()
      #expect(answer?.head["transfer-encoding"] == ["chunked"])
      #expect(answer?.head["content-length"] == [])
      #expect(answer?.body == text)
      #expect(try client.get()?.body == text)

      let old = try HTTPPeer.connect(proxy)
      let plain = try old.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
      #expect(plain?.head["transfer-encoding"] == [])
      #expect(plain?.head["connection"] == ["close"])
      #expect(plain?.body == text)
    }
  }

  @Test func chunksAreFramedAnew() async throws {
    let backend = try ScriptedBackend.answering { _, _ in
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00003;ext=\"secret\"\r\nabc\r\n2\r\nde\r\n000\r\nX-T: 1\r\n\r\n"
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.get()
      #expect(answer?.body == "abcde")
      #expect(answer?.trailers == "")
      #expect(!String(decoding: client.received, as: UTF8.self).contains("secret"))
      // Trailers go to who says that it reads them.
      let told = try client.get("/", "TE: trailers\r\nConnection: te\r\n")
      #expect(told?.body == "abcde")
      #expect(told?.trailers.lowercased() == "x-t: 1\r\n")
      // An old client gets the bytes, and their end by a close.
      #expect(try proxy.ask("GET / HTTP/1.0\r\n\r\n")?.body == "abcde")
    }
    #expect(backend.connections == 1)
    #expect(backend.requests[1].head["te"] == ["trailers"])
    #expect(backend.requests[0].head["te"] == [])
  }

  @Test(arguments: [1, 3, 1000, 70_000]) func chunksMayComeInPiecesOfAnySize(size: Int) async throws {
    let text = String(decoding: noise(100_000, seed: 3).map { $0 & 31 | 64 }, as: UTF8.self)
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        var wire = ""
        var rest = Substring(text)
        while !rest.isEmpty {
          let piece = rest.prefix(size == 1 ? 333 : size)
          wire += "\(String(piece.utf8.count, radix: 16))\r\n\(piece)\r\n"
          rest = rest.dropFirst(piece.count)
        }
        wire += "0\r\n\r\n"
        if size > 3 {
          try session.peer.send(wire)
        } else {
          // The ends of the pieces that are sent do not fall together with those of the chunks.
          let bytes = Array(wire.utf8)
          for begin in stride(from: 0, to: bytes.count, by: 1009) {
            try session.peer.peer.send(Array(bytes[begin..<min(begin + 1009, bytes.count)]))
          }
        }
      }
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 1...2 { #expect(try client.get()?.body == text) }
    }
  }

  @Test func aCutBodyIsSeenAsCut() async throws {
    let goOn = Mailbox<Void>()
    let backend = try ScriptedBackend { session in
      guard let head = try session.readHead() else { return }
      switch head.target {
      case "/length": try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
      case "/chunked": try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf")
      case "/between": try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
      default:
        try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        // The client has what came before, so this comes after the commit.
        _ = blockingWait { await goOn.next() }
        try session.peer.send("zz\r\n")
      }
    }
    try await withReverseProxy(to: backend) { proxy in
      for target in ["/length", "/chunked", "/between", "/garbage"] {
        let client = try HTTPPeer.connect(proxy)
        try client.send("GET \(target) HTTP/1.1\r\nHost: t\r\n\r\n")
        #expect(try client.readHead()?.status == 200, "\(target)")
        if target == "/garbage" { goOn.put(()) }
        let rest = try client.readToEnd()
        #expect(rest.contains("half"), "\(target)")
        #expect(!rest.contains("0\r\n\r\n"), "\(target)")

        // A client for which the close is the end of a body must see a reset.
        if target == "/length" || target == "/garbage" { continue }
        let old = try HTTPPeer.connect(proxy)
        try old.send("GET \(target) HTTP/1.0\r\n\r\n")
        #expect(throws: SystemError.self, "\(target)") { try old.readToEnd() }
      }
    }
  }

  @Test func anUpstreamThatResetsInTheMiddleCutsTheAnswer() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf")
      session.peer.peer.reset()
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      // The reset may come before what was sent is read: then there is no answer to cut.
      let answer = try client.get()
      #expect(answer?.isWhole == false || answer?.status == 502)
    }
  }

  @Test(arguments: [
    "garbage\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
  ]) func garbageOfAnUpstreamIsA502(answer: String) async throws {
    let backend = try ScriptedBackend.answering(answer)
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.status == 502)
      // The client's connection is as good as before.
      #expect(try client.get()?.status == 502)
    }
    #expect(backend.connections == 2)
  }

  @Test func aSlowClientDoesNotMakeTheProxyBuffer() async throws {
    let size = 16 << 20
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
        let piece = [UInt8](repeating: 120, count: 1 << 20)
        for _ in 0..<16 { try session.peer.peer.send(piece) }
      }
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = HTTPPeer(try BlockingPeer.connect(proxy, receiveBuffer: 4096))
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      let head = try client.readHead()
      #expect(head?["content-length"] == ["\(size)"])
      #expect(try client.readBytes(size).count == size)
    }
  }
}
