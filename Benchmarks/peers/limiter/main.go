// limiter KEYS THREADS MILLIONS sharded|mutex: what a decision of golang.org/x/time/rate costs behind a map of limiters, as
// Benchmarks/LimiterBenchmark measures ours: the same keys (128 bits), order, rate and clock.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/time/rate"
)

type key [16]byte

type shard struct {
	mu       sync.Mutex
	limiters map[key]*rate.Limiter
	// One shard to a cache line.
	_ [48]byte
}

type limiters struct{ shards []shard }

func (l *limiters) allow(k key) bool {
	s := &l.shards[binary.LittleEndian.Uint64(k[:8])%uint64(len(l.shards))]
	s.mu.Lock()
	limiter, ok := s.limiters[k]
	if !ok {
		limiter = rate.NewLimiter(1e9, 1e9)
		s.limiters[k] = limiter
	}
	s.mu.Unlock()
	return limiter.Allow()
}

func cpu() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func random(state *uint64) uint64 {
	*state ^= *state << 13
	*state ^= *state >> 7
	*state ^= *state << 17
	return *state
}

func decide(l *limiters, picks []key, count int, start int) int {
	allowed := 0
	for turn := start; turn < start+count; turn++ {
		if l.allow(picks[turn&(len(picks)-1)]) {
			allowed++
		}
	}
	return allowed
}

func number(index int) int {
	value, err := strconv.Atoi(os.Args[index])
	if err != nil || value < 1 {
		fmt.Fprintln(os.Stderr, "limiter KEYS THREADS MILLIONS sharded|mutex")
		os.Exit(2)
	}
	return value
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "limiter KEYS THREADS MILLIONS sharded|mutex")
		os.Exit(2)
	}
	keys, threads, millions := number(1), number(2), number(3)
	shards := 1
	if os.Args[4] == "sharded" {
		shards = 64
	}
	names := make([]key, keys)
	state := uint64(88172645463325252)
	for i := range names {
		for half := 0; half < 16; half += 8 {
			binary.LittleEndian.PutUint64(names[i][half:], random(&state)*0x9E3779B97F4A7C15)
		}
	}
	before := heap()
	l := &limiters{shards: make([]shard, shards)}
	for i := range l.shards {
		l.shards[i].limiters = map[key]*rate.Limiter{}
	}
	for _, name := range names {
		l.allow(name)
	}
	bytes := heap() - before

	// A million random picks in a row in memory.
	picks := make([]key, 1<<20)
	state = 0x9E3779B97F4A7C15
	for i := range picks {
		picks[i] = names[(random(&state)&0xffffffff)*uint64(keys)>>32]
	}
	decide(l, picks, 1<<20, 0)
	each := millions * 1000000 / threads
	begin := cpu()
	var group sync.WaitGroup
	for thread := 0; thread < threads; thread++ {
		group.Add(1)
		go func(start int) {
			defer group.Done()
			if decide(l, picks, each, start) == 0 {
				panic("nothing was allowed")
			}
		}(thread * 300000)
	}
	group.Wait()
	taken := cpu() - begin
	fmt.Printf("ns %.2f bytes %.1f mallocs 0\n", float64(taken)/float64(each*threads), float64(bytes)/float64(keys))
	runtime.KeepAlive(l)
}
