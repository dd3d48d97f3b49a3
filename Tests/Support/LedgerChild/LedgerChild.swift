import Glibc
import Middlewares
import Pipeline
import SQLiteLedger

// LedgerChild FILE FROM: adds batches FROM, FROM + 1, … of one writer, each with one request of each of 200 accounts, and says
// the number of each after the ledger has taken it. Until it is killed.
@main struct LedgerChild {
  static func main() throws {
    guard CommandLine.arguments.count == 3, var sequence = UInt64(CommandLine.arguments[2]) else {
      print("usage: LedgerChild FILE FROM")
      exit(2)
    }
    let ledger = SQLiteLedger(CommandLine.arguments[1])
    while true {
      var batch = LedgerBatch(writer: LedgerWriterID(high: 1, low: 2), sequence: sequence)
      let time = UnixTime(seconds: 1_795_262_430)
      for number in 0..<200 {
        batch.usage.append(
          LedgerUsage(
            account: .identity(Principal("user\(number)")), total: UsageChange(requests: 1), firstSeen: time,
            lastSeen: time))
      }
      try ledger.add(batch)
      // Past every buffer: the parent reads it even after the kill.
      _ = "\(sequence)\n".withCString { write(1, $0, strlen($0)) }
      sequence += 1
    }
  }
}
