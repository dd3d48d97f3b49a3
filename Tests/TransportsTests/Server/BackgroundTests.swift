import Pipeline
import Testing

@testable import Transports

/// What background tasks of components live through.
private enum Step: Sendable, Hashable {
  case began(String), slept(String), cancelled(String)
}

/// A middleware with a background task that waits for its end.
private struct Worker: Middleware {
  final class Work: Sendable {}

  let id: String
  let steps: Mailbox<Step>
  var work = Work()

  var state: AnyObject? { work }

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }

  mutating func adopt(from old: Worker) { work = old.work }

  func run(_ services: any BackgroundServices) async throws {
    steps.put(.began(id))
    do {
      try await services.sleep(for: .seconds(3600))
      steps.put(.slept(id))
    } catch {
      steps.put(.cancelled(id))
      throw error
    }
  }
}

@Suite struct BackgroundTests {
  @Test func aTaskRunsOncePerStateObjectHoweverOftenItStands() async throws {
    let steps = Mailbox<Step>()
    let shared = Worker(id: "shared", steps: steps)
    let report = try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        shared
        shared
      } to: {
        Direct()
      }
      Listener(.tcp, on: "127.0.0.1:0") {
        shared
      } to: {
        Upstream("127.0.0.1:9")
      }
    } body: { _ in
      #expect(await steps.next() == .began("shared"))
    }
    // The server's end is the task's: nothing came between, and nothing comes after.
    #expect(await steps.next() == .cancelled("shared"))
    steps.put(.slept("the end"))
    #expect(await steps.next() == .slept("the end"))
    #expect(report.cut == 0)
  }

  @Test func aReloadKeepsEndsAndStartsTasks() async throws {
    let steps = Mailbox<Step>()
    let kept = Worker(id: "kept", steps: steps)
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        kept
        Worker(id: "dropped", steps: steps).named("dropped")
      } to: {
        Direct()
      }
    } body: { server in
      #expect(Set([await steps.next(), await steps.next()]) == [.began("kept"), .began("dropped")])
      try await server.server.reload(
        Listener(.socks5, on: "127.0.0.1:0") {
          kept
          Worker(id: "new", steps: steps).named("new")
        } to: {
          Direct()
        })
      #expect(Set([await steps.next(), await steps.next()]) == [.cancelled("dropped"), .began("new")])
    }
    #expect(Set([await steps.next(), await steps.next()]) == [.cancelled("kept"), .cancelled("new")])
  }

  @Test func theEnginesServicesSleepOffloadAndEnd() async throws {
    let engine = try Engine(EngineOptions(loops: 1))
    let services = ServerBackground(engine)
    let begun = services.now
    try await services.sleep(for: .milliseconds(5))
    #expect(services.now - begun >= .milliseconds(5))
    #expect(try await services.offload { 6 * 7 } == 42)
    await #expect(throws: Rejection.self) { try await services.offload { throw Rejection(.overloaded) } }
    let sleeping = Task { try await services.sleep(for: .seconds(3600)) }
    sleeping.cancel()
    await #expect(throws: CancellationError.self) { try await sleeping.value }
    await engine.stopped()
  }
}
