package load

import "time"

var start = time.Now()

// Now returns the time in Unix nanoseconds, read from the monotonic clock: a
// step of the wall clock does not become a latency.
func Now() int64 { return start.UnixNano() + int64(time.Since(start)) }

func since(t int64) time.Duration { return time.Duration(Now() - t) }
