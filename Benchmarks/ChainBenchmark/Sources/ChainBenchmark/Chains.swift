import Pipeline

/// Chains of 0, 1, 5, 20 and 50 elements, written out like a user's.
func chains(_ counting: Counting) -> [(count: Int, make: () throws -> any Serving<TCPExchange>)] {
  [
    (
      0,
      {
        let listener = Listener(.tcp, on: ":1") {
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1, counting: counting)
      }
    ),
    (
      1,
      {
        let listener = Listener(.tcp, on: ":1") {
          Layer()
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1, counting: counting)
      }
    ),
    (
      5,
      {
        let listener = Listener(.tcp, on: ":1") {
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1, counting: counting)
      }
    ),
    (
      20,
      {
        let listener = Listener(.tcp, on: ":1") {
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1, counting: counting)
      }
    ),
    (
      50,
      {
        let listener = Listener(.tcp, on: ":1") {
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
          Layer()
        } to: {
          Leaf()
        }
        return try Service(listener, shards: 1, counting: counting)
      }
    ),
  ]
}
