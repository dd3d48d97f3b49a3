import Pipeline
import Testing

@testable import Transports

@Suite struct ConnectionTaskTests {
  /// Reads until the client is gone.
  private static func drain(_ connection: Connection) async throws {
    try await connection.wait(for: connection.client, .readable)
  }

  private func resting(_ fixture: EngineFixture) async -> Int {
    await fixture.engine.loops[0].run { $0.restingTasks.count }
  }

  @Test func theTaskOfAConnectionThatHasEndedServesTheNext() async throws {
    let fixture = try await EngineFixture(handler: Self.drain)
    for _ in 0..<5 {
      try BlockingPeer.connect(fixture.address).close()
      try await #require(fixture.ended.next()).get()
      #expect(await resting(fixture) == 1)
    }
    await fixture.stop()
  }

  @Test func aTaskThatWasCutServesNoFurtherConnection() async throws {
    let began = Mailbox<Bool>()
    let fixture = try await EngineFixture { connection in
      began.put(Task.isCancelled)
      try await Self.drain(connection)
    }
    let client = try BlockingPeer.connect(fixture.address)
    #expect(await began.next() == false)
    await fixture.engine.loops[0].run { _ = $0.connections.cutAll() }
    _ = await fixture.ended.next()
    #expect(await resting(fixture) == 0)
    client.close()
    try BlockingPeer.connect(fixture.address).close()
    #expect(await began.next() == false)
    await fixture.stop()
  }

  @Test func aBoundedNumberOfTasksRests() async throws {
    let fixture = try await EngineFixture(handler: Self.drain)
    let count = ConnectionTask.mostResting + 6
    let clients = try (0..<count).map { _ in try BlockingPeer.connect(fixture.address) }
    for client in clients { client.close() }
    for _ in clients { _ = await fixture.ended.next() }
    let rest = await resting(fixture)
    // Connections that were accepted after others had ended were served by those's tasks.
    #expect(rest > 0 && rest <= ConnectionTask.mostResting)
    await fixture.stop()
  }
}
