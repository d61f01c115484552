package engine

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

func trapping() []byte {
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportPublish, "", "unreachable")
	b.Hook(abi.ExportSubscribe, "", "unreachable")
	b.Hook(abi.ExportDeliver, "", "unreachable")
	return b.Bytes()
}

func make1(t *testing.T, s Spec) *Version {
	t.Helper()
	if s.Limits.Lanes == 0 {
		s.Limits.Lanes = 1
	}
	s.Name = "test"
	v, err := newEngine(t, Config{}).Make(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	v.slow = false // whatever a busy machine made of it: the next call finds an instance
	return v
}

func say(v *Version, data string) (out policy.Publication, err *wire.Err) {
	err = v.Publish(ann, &wire.Pub{Channel: "a.b", Data: []byte(data)}, func(p *policy.Publication) { out = *p; out.Msg = &wire.Pub{Data: p.Msg.Data} })
	return out, err
}

// What a failure does is what the role says, and never an answer by chance.
func TestFailurePolicies(t *testing.T) {
	for role, want := range map[manifest.Role]string{manifest.Authorise: "denied", manifest.Filter: "dropped", manifest.Transform: "passed", manifest.Observe: "passed"} {
		v := make1(t, Spec{Wasm: trapping(), Failure: role.Default})
		out, err := say(v, "x")
		got := "passed"
		switch {
		case err != nil && err.Code == wire.CodePlugin && err.Retry > 0:
			got = "denied"
		case out.Drop:
			got = "dropped"
		case string(out.Msg.Data) != "x":
			got = "changed"
		}
		if got != want {
			t.Errorf("%s: %s, want %s (%+v)", role, got, want, err)
		}
		if _, err := v.Subscribe(ann, "a.b"); err == nil || err.Code != wire.CodePlugin {
			t.Errorf("%s: subscribe fails open: %+v", role, err)
		}
		to := []uint64{math.MaxUint64}
		v.Deliver([]*policy.Tags{{}, {}}, []policy.Question{{Msg: &wire.Msg{Channel: "a.b"}, To: to}})
		if to[0]&3 != 0 {
			t.Errorf("%s: deliver fails open", role)
		}
	}
}

// A version that keeps failing is not called any more; after a pause one call
// decides.
func TestBreaker(t *testing.T) {
	var opened atomic.Int32
	v := make1(t, Spec{Wasm: trapping(), Opened: func() { opened.Add(1) }})
	now := time.Now()
	var mu sync.Mutex
	v.breaker.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	for range 20 {
		say(v, "x")
	}
	if calls := v.Stats().Hooks[abi.Publish].Calls; calls != burst || opened.Load() != 1 || v.Stats().Breaker != "open" {
		t.Fatalf("%d calls, opened %d times, %s", calls, opened.Load(), v.Stats().Breaker)
	}
	pause := firstly
	for range 8 {
		mu.Lock()
		now = now.Add(pause)
		mu.Unlock()
		before := v.Stats().Hooks[abi.Publish].Calls
		say(v, "x")
		say(v, "x")
		if n := v.Stats().Hooks[abi.Publish].Calls - before; n != 1 {
			t.Fatalf("%d calls after a pause of %v", n, pause)
		}
		pause = min(2*pause, longest)
	}
	if opened.Load() != 1 {
		t.Errorf("told of %d openings", opened.Load())
	}
}

func TestBreakerClosesAgain(t *testing.T) {
	// Traps as long as the payload begins with '!'.
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportPublish, "", fmt.Sprintf("i32.const %d i32.load 2 0 i32.const %d i32.add i32.load8_u 0 0 i32.const 33 i32.eq if void unreachable end i64.const 1", hostile.In+abi.OffPayload, hostile.In))
	v := make1(t, Spec{Wasm: b.Bytes()})
	now := time.Now()
	v.breaker.now = func() time.Time { return now }
	for range burst {
		say(v, "!")
	}
	if out, _ := say(v, "fine"); !out.Drop {
		t.Fatal("called while the breaker is open")
	}
	now = now.Add(firstly)
	for range 3 {
		if out, err := say(v, "fine"); err != nil || out.Drop {
			t.Fatalf("%+v %+v", out, err)
		}
	}
	if s := v.Stats(); s.Breaker != "closed" || s.Instances != 1 {
		t.Errorf("%+v", s)
	}
}

// A guest that takes long to make is made beside the calls, which are answered
// without it meanwhile.
func TestSlowGuest(t *testing.T) {
	v := make1(t, Spec{Wasm: trapping(), Failure: manifest.Filter.Default})
	v.slow = true
	l := &v.lanes[0]
	say(v, "x")
	v.making.Wait()
	l.mu.Lock()
	made := l.in
	l.in = nil
	l.mu.Unlock()
	if made == nil {
		t.Fatal("no new instance")
	}
	if out, err := say(v, "x"); err != nil || !out.Drop {
		t.Errorf("without an instance: %+v %+v", out, err)
	}
	if calls := v.Stats().Hooks[abi.Publish].Calls; calls != 1 {
		t.Errorf("%d calls", calls)
	}
	l.mu.Lock()
	l.in = made
	l.mu.Unlock()
}

// Calls beyond the share of processor time are not made; time brings it back.
func TestShare(t *testing.T) {
	b := hostile.Plugin(nil) // about 700,000 units a call
	b.Hook(abi.ExportPublish, "i32", "loop void local.get 1 i32.const 1 i32.add local.tee 1 i32.const 100000 i32.lt_u br_if 0 end i64.const 1")
	v := make1(t, Spec{Wasm: b.Bytes(), Limits: Limits{Share: 0.01}})
	v.engine.leave(v) // no clock: the share does not grow by itself
	shed := 0
	for range 50 {
		if out, _ := say(v, "x"); out.Drop {
			shed++
		}
	}
	if s := v.Stats(); shed == 0 || shed == 50 || int(s.Shed) != shed || s.Breaker != "closed" {
		t.Fatalf("%d of 50 shed, %+v", shed, s.Shed)
	}
	for range 200 { // a second
		v.grant()
	}
	if out, _ := say(v, "x"); out.Drop {
		t.Error("the share does not come back")
	}
}

// At most so many calls run or wait; the others are answered at once.
func TestInflight(t *testing.T) {
	v := make1(t, Spec{Wasm: filter(), Limits: Limits{Inflight: 3}})
	v.lanes[0].mu.Lock()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { say(v, "x") })
	}
	for v.inflight.Load() < 3 {
		runtime.Gosched()
	}
	if out, err := say(v, "x"); err != nil || !out.Drop {
		t.Errorf("the fourth: %+v %+v", out, err)
	}
	v.lanes[0].mu.Unlock()
	wg.Wait()
	if out, _ := say(v, "x"); out.Drop {
		t.Error("calls are not let go")
	}
}

// Messages of a channel are committed in the order in which the guest saw them,
// one by one and in batches.
func TestOrderAndBatches(t *testing.T) {
	for _, batches := range []bool{false, true} {
		b := hostile.Plugin(nil)
		b.Hook(abi.ExportPublish, "", "i64.const 1")
		if batches {
			// n words of Allow behind each other; the answer is Allow with 8n bytes.
			b.Hook(abi.ExportPublishBatch, "i32 i32", fmt.Sprintf("i32.const %d i32.load 2 0 local.set 2 ", hostile.In+abi.OffArg0)+
				fmt.Sprintf("loop void local.get 1 i32.const 3 i32.shl i32.const %d i32.add i64.const 1 i64.store 3 0 ", hostile.Out)+
				"local.get 1 i32.const 1 i32.add local.tee 1 local.get 2 i32.lt_u br_if 0 end "+
				"local.get 2 i64.extend_i32_u i64.const 35 i64.shl i64.const 1 i64.or")
		}
		v := make1(t, Spec{Wasm: b.Bytes(), Limits: Limits{Lanes: 2, Share: 1000}})
		const publishers, each = 8, 500
		got := make([][]int, publishers)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for p := range publishers {
			wg.Go(func() {
				for i := range each {
					m := &wire.Pub{Channel: "one", Data: fmt.Appendf(nil, "%d", i)}
					if err := v.Publish(ann, m, func(*policy.Publication) {
						mu.Lock()
						got[p] = append(got[p], i)
						mu.Unlock()
					}); err != nil {
						t.Errorf("%+v", err)
					}
				}
			})
		}
		wg.Wait()
		for p := range got {
			if len(got[p]) != each || !slices.IsSorted(got[p]) {
				t.Errorf("batches %v, publisher %d: %d messages, sorted %v", batches, p, len(got[p]), slices.IsSorted(got[p]))
			}
		}
		if s := v.Stats(); batches && s.Hooks[abi.PublishBatch].Calls == 0 {
			t.Log("no two messages met") // a fast machine: nothing to see
		}
	}
}

// A batch of messages that met is one call.
func TestBatchIsOneCall(t *testing.T) {
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportPublish, "", "i64.const 1")
	b.Hook(abi.ExportPublishBatch, "", fmt.Sprintf("i32.const %d i64.const 1 i64.store 3 0 i32.const %d i64.const 0x0000_0000_0000_0002 i64.store 3 8 i64.const 0x1000000001", hostile.Out, hostile.Out))
	v := make1(t, Spec{Wasm: b.Bytes()})
	l := &v.lanes[0]
	l.mu.Lock()
	dropped := make([]bool, 2)
	var wg sync.WaitGroup
	for i := range dropped {
		wg.Go(func() {
			v.Publish(ann, &wire.Pub{Channel: "c", Data: []byte("x")}, func(p *policy.Publication) { dropped[i] = p.Drop })
		})
		for n := 0; n <= i; {
			l.queue.mu.Lock()
			n = len(l.queue.list)
			l.queue.mu.Unlock()
			runtime.Gosched()
		}
	}
	l.mu.Unlock()
	wg.Wait()
	s := v.Stats()
	if s.Hooks[abi.PublishBatch].Calls != 1 || s.Hooks[abi.Publish].Calls != 0 || dropped[0] || !dropped[1] {
		t.Errorf("%d batches, %d single, dropped %v", s.Hooks[abi.PublishBatch].Calls, s.Hooks[abi.Publish].Calls, dropped)
	}
}

// Closing while calls run waits for nothing that does not end.
func TestCloseUnderLoad(t *testing.T) {
	v := make1(t, Spec{Wasm: filter(), Limits: Limits{Lanes: 2}})
	asked := make(chan struct{})
	v.Judge(func(j policy.Judge) {
		j.Deliver([]*policy.Tags{{}}, nil)
		close(asked)
	})
	<-asked
	v.Presence(ann, "a", true) // not exported: the host does not ask, and nothing breaks
}

func TestStoreIsBounded(t *testing.T) {
	var s store
	for i := range storeKeys + 10 {
		ok := s.set(fmt.Sprint(i), []byte("v"), 0, 1)
		if ok != (i < storeKeys) {
			t.Fatalf("key %d: %v", i, ok)
		}
	}
	if !s.set("0", []byte("w"), 0, 1) || s.set("x", []byte("v"), 0, 1) {
		t.Error("a known key is refused, or a new one taken")
	}
	s = store{}
	big := []byte(strings.Repeat("x", maxValue))
	n := 0
	for s.set(fmt.Sprint(n), big, 10, 1000) {
		n++
	}
	if n != storeBytes/maxValue && n != storeBytes/maxValue-1 {
		t.Errorf("%d values of 64 KiB", n)
	}
	if !s.set("late", big, 0, 2000) {
		t.Error("keys past their end take room")
	}
	if s.set("k", make([]byte, maxValue+1), 0, 0) || s.set("", []byte("v"), 0, 0) || s.set(strings.Repeat("k", 257), []byte("v"), 0, 0) {
		t.Error("out of bounds, and taken")
	}
	if got := s.incr("c", 5, 100, 2000); got != 5 {
		t.Errorf("first %d", got)
	}
	if got := s.incr("c", 2, 100, 2099); got != 7 {
		t.Errorf("second %d: its life is that of the first", got)
	}
	if got := s.incr("c", 1, 100, 2100); got != 1 {
		t.Errorf("after its end %d", got)
	}
}
