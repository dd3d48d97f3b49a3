import Pipeline
import Synchronization
import Testing

struct SignalTests {
  /// Notes when it was told, and lets a test await that.
  private final class Note: SignalWaiter {
    private let told = Mutex(0)
    let onTold: @Sendable () -> Void

    init(_ onTold: @escaping @Sendable () -> Void = {}) { self.onTold = onTold }

    var count: Int { told.withLock { $0 } }

    func signalled() {
      told.withLock { $0 += 1 }
      onTold()
    }
  }

  @Test func aWaiterIsToldOnceHoweverOftenItFires() {
    let signal = Signal()
    let note = Note()
    #expect(signal.add(note))
    signal.fire()
    signal.fire()
    #expect(note.count == 1)
    #expect(signal.hasFired)
    #expect(signal.waiterCount == 0)
  }

  @Test func whoComesAfterItFiredIsNotKept() {
    let signal = Signal()
    signal.fire()
    let note = Note()
    #expect(!signal.add(note))
    #expect(signal.waiterCount == 0)
    #expect(note.count == 0)
  }

  @Test func whoLeftIsNotTold() {
    let signal = Signal()
    let stays = Note()
    let leaves = Note()
    _ = signal.add(stays)
    _ = signal.add(leaves)
    signal.remove(leaves)
    signal.fire()
    #expect(stays.count == 1)
    #expect(leaves.count == 0)
  }

  @Test func waitersAreToldInTheOrderOfArrival() {
    let signal = Signal()
    let told = Counter()
    let ranks = (0..<5).map { _ in Counter() }
    for rank in ranks {
      _ = signal.add(
        Note {
          told.add()
          for _ in 0..<told.count { rank.add() }
        })
    }
    signal.fire()
    #expect(ranks.map(\.count) == [1, 2, 3, 4, 5])
  }

  @Test func aWaiterMayUseTheSignalWhileItIsTold() {
    let signal = Signal()
    let late = Note()
    _ = signal.add(Note { _ = signal.add(late) })
    signal.fire()
    #expect(signal.waiterCount == 0)
    #expect(late.count == 0)
  }

  @Test func everyWaiterOfManyThreadsIsEitherToldOrTurnedAwayAtOnce() async {
    let signal = Signal()
    let settled = Counter()
    await withTaskGroup(of: Void.self) { group in
      for index in 0..<200 {
        group.addTask {
          if index == 100 {
            signal.fire()
          } else if !signal.add(Note { settled.add() }) {
            settled.add()
          }
        }
      }
    }
    #expect(settled.count == 199)
  }
}

private final class Counter: Sendable {
  private let value = Mutex(0)
  var count: Int { value.withLock { $0 } }
  func add() { value.withLock { $0 += 1 } }
}
