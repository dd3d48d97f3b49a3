import Pipeline

@testable import Transports

/// An answer of a name server: read to its end and never beyond it, the same whatever follows it, with names that can go over
/// the wire again; and what is made of it comes to an end.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let response: DNSResponse
  do {
    response = try DNSResponse(bytes)
  } catch {
    Fuzzing.expect(!error.description.isEmpty, "a refusal without a word")
    return 0
  }
  let records = response.answers + response.authority + response.additional
  // A record takes eleven bytes at least.
  Fuzzing.expect(records.count <= bytes.count / 11, "\(records.count) records in \(bytes.count) bytes")
  Fuzzing.expect(!response.isTruncated || records.isEmpty, "records of an answer that is cut off")
  guard let longer = read(bytes + bytes) else { Fuzzing.fail("refused where something follows it") }
  Fuzzing.expect(longer == Outcome(response), "what follows it changes it")
  for record in records {
    check(record.owner, "an owner")
    Fuzzing.expect(record.timeToLive <= UInt32(Int32.max), "a time of \(record.timeToLive)")
    switch record.data {
    case .alias(let name): check(name, "an alias")
    case .service(_, _, _, let target?):
      Fuzzing.expect(DNSQuestion(target, .a) != nil, "a target that cannot be asked for: \(target)")
    case .address, .service, .authority: break
    }
    _ = response.addresses(of: record.owner)
  }
  for question in questions {
    var memory = AddressMemory()
    var found = NameAddresses()
    found.add(memory.learn(response, question))
    found.addStale(memory.recall(question, DNSFailure(description: "none")), DNSFailure(description: "none"))
    switch found.places(port: 80, weight: 1) {
    case .found(let places, _): Fuzzing.expect(!places.isEmpty, "a list of none")
    case .none, .failed: break
    }
    let targets = ServiceRecords(response, question).targets
    Fuzzing.expect(targets.allSatisfy { (1...10_000).contains($0.weight) }, "a target of a weight that is none")
    Fuzzing.expect(targets.isEmpty || targets[0].priority == 0, "targets without a best one")
  }
  return 0
}

/// What the corpus asks for.
private let questions: [DNSQuestion] = ["web.internal", "_http._tcp.web.test"].flatMap { name in
  [DNSType.a, .aaaa, .srv].compactMap { type in DomainName(name).flatMap { DNSQuestion($0, type) } }
}

private struct Outcome: Equatable {
  let id: UInt16
  let code: DNSResponse.Code
  let records: [[DNSRecord]]

  init(_ response: DNSResponse) {
    id = response.id
    code = response.code
    records = [response.answers, response.authority, response.additional]
  }
}

private func read(_ bytes: [UInt8]) -> Outcome? {
  do {
    return Outcome(try DNSResponse(bytes))
  } catch {
    return nil
  }
}

/// A name in wire form: labels of 1 to 63 bytes, in lower case, and the root at its end.
private func check(_ name: [UInt8], _ what: String) {
  Fuzzing.expect((1...255).contains(name.count), "\(what) of \(name.count) bytes")
  var place = 0
  while place < name.count, name[place] != 0 {
    let length = Int(name[place])
    Fuzzing.expect(length <= 63 && place + length + 1 < name.count, "\(what) with a label of \(length) bytes")
    let isLower = name[(place + 1)...(place + length)].allSatisfy { !(65...90).contains($0) }
    Fuzzing.expect(isLower, "\(what) in capitals")
    place += length + 1
  }
  Fuzzing.expect(place == name.count - 1, "\(what) that goes on behind its end")
}
