package ws_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
)

// BenchmarkIdle holds 1000 subscribed connections over loopback. KiB/conn is the
// Go heap and stacks of both ends, session and subscription included; the
// client's end is a bare socket. Package bench measures a real process.
func BenchmarkIdle(b *testing.B) {
	const conns = 1000
	r, err := relay.New(relaytest.Open())
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	srv := httptest.NewServer(r.Handler())
	defer func() {
		stop()
		<-ended
		srv.Close()
	}()
	in := bufio.NewReaderSize(nil, 4096)
	open := func() net.Conn {
		nc, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		in.Reset(nc)
		if _, err := nc.Write(append([]byte(request()), message(hello)...)); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			b.Fatalf("%v %v", resp, err)
		}
		if _, err := in.ReadByte(); err != nil { // of welcome
			b.Fatal(err)
		}
		return nc
	}
	defer open().Close() // what only the first costs
	for b.Loop() {
		before := held()
		goroutines := runtime.NumGoroutine()
		all := make([]net.Conn, conns)
		for i := range all {
			all[i] = open()
		}
		for runtime.NumGoroutine() > goroutines+conns { // net/http's are ending
			time.Sleep(time.Millisecond)
		}
		b.ReportMetric(float64(held()-before)/1024/conns, "KiB/conn")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/conns, "goroutines/conn")
		for _, nc := range all {
			nc.Close()
		}
		for len(r.Connections()) > 1 {
			time.Sleep(time.Millisecond)
		}
	}
}

func held() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
