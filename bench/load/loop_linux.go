package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A Loop serves all connections of the client on the goroutine that calls Run.
// Nothing of it may be used from another.
type Loop struct {
	poll    int
	conns   []*conn // by file descriptor
	gen     int32
	buf     []byte
	events  []syscall.EpollEvent
	tickers []ticker
	now     int64 // of the last read, Unix nanoseconds
	fine    bool  // the kernel has epoll_pwait2
}

// A ticker is called when its time has come, and says when to be called next.
type ticker interface {
	tick(now int64) (next int64)
}

const (
	never   = int64(1<<63 - 1)
	readLen = 1 << 20              // holds one unit that is not complete (maxUnit) and as much again
	patrol  = 5 * time.Millisecond // how long the loop waits at most before it looks at its conditions
	between = 16                   // reads between two looks at the tickers
	pwait2  = 441                  // epoll_pwait2(2), Linux 5.11; one number on all architectures
)

// ErrLate says that a condition was not met in time.
var ErrLate = errors.New("not done in time")

// NewLoop returns a loop. Close it.
func NewLoop() (*Loop, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &Loop{poll: fd, buf: make([]byte, readLen), events: make([]syscall.EpollEvent, 1024), fine: true}, nil
}

// Close closes all connections.
func (l *Loop) Close() error {
	for _, c := range l.conns {
		if c != nil {
			c.end(os.ErrClosed)
		}
	}
	return syscall.Close(l.poll)
}

// Run serves until done reports true (nil: never), for at most d. It returns
// ErrLate when done is given and was not met.
func (l *Loop) Run(ctx context.Context, d time.Duration, done func() bool) error {
	deadline := Now() + int64(d)
	for {
		if done != nil && done() {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		now := Now()
		if now >= deadline {
			if done != nil {
				return ErrLate
			}
			return nil
		}
		next := min(l.tick(now), deadline, now+int64(patrol))
		n, err := l.wait(time.Duration(max(next-Now(), 0)))
		if err != nil {
			return err
		}
		for i, e := range l.events[:n] {
			if i%between == between-1 {
				l.tick(Now())
			}
			if c := l.conns[e.Fd]; c != nil && c.gen == e.Pad {
				c.ready(e.Events)
			}
		}
	}
}

// tick calls the tickers and returns when the next one is due.
func (l *Loop) tick(now int64) int64 {
	next := never
	for _, t := range l.tickers {
		next = min(next, t.tick(now))
	}
	return next
}

func (l *Loop) wait(d time.Duration) (int, error) {
	var n int
	var err error
	if l.fine {
		ts := syscall.NsecToTimespec(int64(d))
		r, _, errno := syscall.Syscall6(pwait2, uintptr(l.poll), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)),
			uintptr(unsafe.Pointer(&ts)), 0, 0)
		switch n = int(r); errno {
		case 0:
		case syscall.ENOSYS, syscall.EPERM:
			l.fine = false
			return 0, nil
		default:
			n, err = 0, errno
		}
	} else {
		n, err = syscall.EpollWait(l.poll, l.events, int((d+time.Millisecond-1)/time.Millisecond))
	}
	if errors.Is(err, syscall.EINTR) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("epoll: %w", err)
	}
	return n, nil
}
