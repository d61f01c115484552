package writer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A connection that was parked once is as good as new: the deadline of its
// parked write must not end it later. Real time: a socket's deadline is.
func TestParkedThenIdle(t *testing.T) {
	const stall = time.Second
	p := run(t, 1, Options{Stall: stall})
	c := newChannel(p)
	near, far := tcp(t)
	s := c.subscribe(near)
	const total = 200_000
	c.publish(total)
	if err := read(far, 0, total); err != nil {
		t.Fatal(err)
	}
	if s.refused.Load() == 0 {
		t.Fatal("it was never parked")
	}
	for p.Parked() != 0 {
		runtime.Gosched()
	}
	<-time.After(stall + stall/4)
	c.publish(1)
	if err := read(far, total, 1); err != nil {
		t.Fatal(err)
	}
}

// The same limit for a socket that is full.
func TestStalledSocket(t *testing.T) {
	p := run(t, 1, Options{Stall: 50 * time.Millisecond})
	c := newChannel(p)
	near, far := tcp(t)
	far.(*net.TCPConn).SetReadBuffer(32 << 10)
	s := c.subscribe(near)
	c.publish(200_000)
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) { // the transport's reader learns it
		t.Errorf("%v", err)
	}
	if !errors.Is(s.out.Err(), ErrStalled) {
		t.Error("it does not say why")
	}
}

// A thin line is not a dead one: what counts is that some of a batch is taken.
func TestThinLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := run(t, 1, Options{Stall: 10 * time.Second, Soft: 256 << 10})
		c := newChannel(p)
		near, far := pipe(t)
		s := c.subscribe(near)
		const total = 4096 // one batch of 16 pieces
		c.publish(total)
		for i := uint64(0); i < total; i += 64 {
			time.Sleep(time.Second) // virtual
			if err := read(far, i, 64); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.out.Err(); err != nil {
			t.Error(err)
		}
	})
}

// Run's end is not held up by a connection that was parked again and again.
func TestRunEndsWhileParking(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			p := NewPool(1, Options{Stall: time.Hour, Soft: item})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { p.Run(ctx); close(ended) }()
			c := newChannel(p)
			near, far := pipe(t)
			c.subscribe(near)
			c.publish(20)
			if err := read(far, 0, 10); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			begun := time.Now()
			stop()
			<-ended
			if took := time.Since(begun); took != 0 {
				t.Fatalf("Run took %v to end", took)
			}
		})
	}
}

// Everybody may kick, wake, finish and abort at once.
func TestStorm(t *testing.T) {
	p := run(t, 2, Options{Soft: 4 * item})
	c := newChannel(p)
	const peers = 20
	var subs []*subscriber
	reads := make(chan error, peers)
	for i := range peers {
		connect := tcp
		if i%2 == 1 {
			connect = pipe
		}
		near, far := connect(t)
		subs = append(subs, c.subscribe(near))
		go func() {
			_, err := io.Copy(io.Discard, far)
			reads <- err
		}()
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 2000 {
				s := subs[(i+g)%peers]
				switch {
				case i%97 == 0:
					c.publish(3)
				case i == 1500+g:
					s.out.Finish(func(b []byte) []byte { return append(b, "bye"...) }, 100*time.Millisecond)
				case i == 1900+g:
					s.out.Abort()
				default:
					s.out.Kick()
				}
			}
		})
	}
	all.Wait()
	for i, s := range subs {
		s.out.Abort()
		if s.overlap.Load() {
			t.Errorf("source %d was filled by two goroutines at once", i)
		}
	}
	for range peers {
		<-reads // however it ended, it did
	}
	for p.Parked() != 0 {
		runtime.Gosched()
	}
}

// Where a write cannot be seen to be refused, only one that takes long counts:
// being busy for a moment is not being slow.
func TestBusyIsNotSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := run(t, 1, Options{})
		c := newChannel(p)
		near, far := pipe(t)
		s := c.subscribe(near)
		c.publish(1)
		synctest.Wait() // the write is under way
		c.publish(1)
		synctest.Wait()
		if err := read(far, 0, 2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.refused.Load(); n != 0 {
			t.Errorf("refused %d times", n)
		}
		c.publish(1)
		time.Sleep(100 * time.Millisecond) // virtual
		if err := read(far, 2, 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.refused.Load(); n != 1 {
			t.Errorf("refused %d times", n)
		}
	})
}

// The kernel hides no backlog of a TLS client either.
func TestSlowTLSReader(t *testing.T) {
	near, far := tcp(t)
	far.(*net.TCPConn).SetReadBuffer(32 << 10)
	server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	p := run(t, 1, Options{})
	c := newChannel(p)
	s := c.subscribe(server)
	const total = 100_000
	c.publish(total)
	var given uint64
	for still := time.Now(); time.Since(still) < 500*time.Millisecond; runtime.Gosched() {
		if g := s.given.Load(); g != given {
			given, still = g, time.Now()
		}
	}
	if given > 256<<10 {
		t.Errorf("a dead TLS peer was given %d bytes", given)
	}
	if err := read(client, 0, total); err != nil {
		t.Fatal(err)
	}
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
