package instrument

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/plugins/hostile"
)

// A model of guests: programs of random statements, which are written as
// WebAssembly, and executed here with each instruction counted as it runs. So
// what instrumentation charges can be compared with what was executed.

type model struct {
	rnd   *rand.Rand
	funcs []*modelFunc
	mem   [256]byte
	cost  int64
	steps int // statements left to execute
}

type modelFunc struct {
	body   []stmt
	locals int
}

// stmt is a statement: its text, and what it does, which tells how it ends: next,
// or a branch out of so many blocks, or a return.
type stmt struct {
	text string
	run  func(m *model, l []int32) int
}

const (
	next      = -1
	returning = -2
	vars      = 3 // locals that statements use; those behind them count loops
)

func (m *model) block(body []stmt, l []int32) int {
	for _, s := range body {
		if m.steps--; m.steps < 0 {
			return returning
		}
		if out := s.run(m, l); out != next {
			return out
		}
	}
	return next
}

// leave is how a branch goes on when it comes out of one block.
func leave(out int) int {
	switch {
	case out > 0:
		return out - 1
	case out == 0:
		return next
	}
	return out
}

func texts(body []stmt) string {
	var b strings.Builder
	for _, s := range body {
		b.WriteString(s.text)
		b.WriteByte('\n')
	}
	return b.String()
}

// gen makes statements. labels says of each open block whether it is one that a
// branch may go to, innermost last.
func (m *model) gen(f *modelFunc, self, depth int, labels []bool) []stmt {
	var body []stmt
	for range 1 + m.rnd.IntN(5) {
		body = append(body, m.one(f, self, depth, labels))
	}
	return body
}

func (m *model) target(labels []bool) int {
	for range 8 {
		if k := m.rnd.IntN(len(labels)); labels[len(labels)-1-k] {
			return k
		}
	}
	return len(labels) - 1 // the function
}

func (m *model) one(f *modelFunc, self, depth int, labels []bool) stmt {
	a, b, c := m.rnd.IntN(vars), m.rnd.IntN(vars), int32(m.rnd.IntN(1000))
	end := len(labels) - 1
	to := func(k int) int { // a branch to the function is a return, of local 1
		if k == end {
			return returning
		}
		return k
	}
	kind := m.rnd.IntN(14)
	if depth > 5 && kind >= 8 {
		kind %= 3
	}
	switch kind {
	case 0, 1:
		return stmt{fmt.Sprintf("local.get %d i32.const %d i32.mul i32.const 7 i32.add local.set %d", a, c, b), func(m *model, l []int32) int {
			m.cost += 6
			l[b] = l[a]*c + 7
			return next
		}}
	case 2:
		at := m.rnd.IntN(60) * 4
		return stmt{fmt.Sprintf("i32.const %d local.get %d i32.store 2 0 i32.const %d i32.load 2 4 local.set %d", at, a, at, b), func(m *model, l []int32) int {
			m.cost += 3 + 2*costMemory
			binary.LittleEndian.PutUint32(m.mem[at:], uint32(l[a]))
			l[b] = int32(binary.LittleEndian.Uint32(m.mem[at+4:]))
			return next
		}}
	case 3:
		k := m.target(labels)
		if k == end {
			return stmt{"local.get 1 return", func(m *model, l []int32) int { m.cost += 2; return returning }}
		}
		return stmt{fmt.Sprintf("br %d", k), func(m *model, l []int32) int { m.cost++; return k }}
	case 4, 5:
		k := m.target(labels)
		text := fmt.Sprintf("local.get %d i32.const %d i32.and br_if %d", a, c&7, k)
		cost := int64(4)
		if k == end {
			text = fmt.Sprintf("local.get 1 local.get %d i32.const %d i32.and br_if %d drop", a, c&7, k)
			cost++
		}
		return stmt{text, func(m *model, l []int32) int {
			m.cost += cost
			if l[a]&c&7 != 0 {
				return to(k)
			}
			if k == end {
				m.cost++ // drop
			}
			return next
		}}
	case 6:
		ks := []int{m.target(labels), m.target(labels), m.target(labels)}
		for _, k := range ks {
			if k == end {
				return m.one(f, self, depth, labels)
			}
		}
		return stmt{fmt.Sprintf("local.get %d i32.const 3 i32.and br_table 2 %d %d %d", a, ks[0], ks[1], ks[2]), func(m *model, l []int32) int {
			m.cost += 3 + costBranch
			return ks[min(l[a]&3, 2)]
		}}
	case 7:
		n := m.rnd.IntN(200)
		return stmt{fmt.Sprintf("i32.const 0 local.get %d i32.const %d memory.fill", a, n), func(m *model, l []int32) int {
			m.cost += 3 + 1 + costBulk + int64(n>>shiftBytes)
			for i := range n {
				m.mem[i] = byte(l[a])
			}
			return next
		}}
	case 8:
		if self+1 >= len(m.funcs) || m.rnd.IntN(2) == 0 {
			return m.one(f, self, depth, labels)
		}
		g := self + 1 + m.rnd.IntN(len(m.funcs)-self-1)
		return stmt{fmt.Sprintf("local.get %d call %d local.set %d", a, g, b), func(m *model, l []int32) int {
			m.cost += 3 + costCall
			l[b] = m.call(g, l[a])
			return next
		}}
	case 9:
		inner := m.gen(f, self, depth+1, append(labels[:end+1:end+1], true))
		return stmt{"block void\n" + texts(inner) + "end", func(m *model, l []int32) int { return leave(m.block(inner, l)) }}
	case 10, 11:
		then := m.gen(f, self, depth+1, append(labels[:end+1:end+1], true))
		text := fmt.Sprintf("local.get %d i32.const %d i32.and if void\n%s", a, c&7, texts(then))
		var other []stmt
		if kind == 11 {
			other = m.gen(f, self, depth+1, append(labels[:end+1:end+1], true))
			text += "else\n" + texts(other)
		}
		return stmt{text + "end", func(m *model, l []int32) int {
			m.cost += 4
			if l[a]&c&7 != 0 {
				return leave(m.block(then, l))
			}
			return leave(m.block(other, l))
		}}
	case 12: // a loop that goes back at its end
		n, counter := int32(1+m.rnd.IntN(6)), f.locals
		f.locals++
		inner := m.gen(f, self, depth+1, append(labels[:end+1:end+1], false))
		return stmt{fmt.Sprintf("i32.const %d local.set %d loop void\n%slocal.get %d i32.const 1 i32.sub local.tee %d br_if 0 end", n, counter, texts(inner), counter, counter), func(m *model, l []int32) int {
			m.cost += 2
			for left := n; left > 0; left-- {
				m.cost++
				if out := m.block(inner, l); out != next {
					return leave(out)
				}
				m.cost += 5
			}
			return next
		}}
	default: // a loop that branches may go back to
		n, counter := int32(1+m.rnd.IntN(6)), f.locals
		f.locals++
		inner := m.gen(f, self, depth+1, append(labels[:end+1:end+1], true, true))
		return stmt{fmt.Sprintf("i32.const %d local.set %d block void loop void local.get %d i32.const 1 i32.sub local.tee %d i32.const 0 i32.lt_s br_if 1\n%sbr 0 end end", n, counter, counter, counter, texts(inner)), func(m *model, l []int32) int {
			m.cost += 2
			for left := n; ; {
				m.cost += 1 + 7
				if left--; left < 0 {
					return next
				}
				switch out := m.block(inner, l); out {
				case next:
					m.cost++
				case 0:
				case 1:
					return next
				default:
					return leave(leave(out))
				}
			}
		}}
	}
}

func (m *model) call(f int, arg int32) int32 {
	m.cost += costEntry
	l := make([]int32, m.funcs[f].locals)
	l[0] = arg
	if m.block(m.funcs[f].body, l) == next {
		m.cost++ // local.get 1
	}
	return l[1]
}

func (m *model) wasm() []byte {
	b := &hostile.Builder{Pages: 1, MaxPages: 1}
	b.Export("memory", 2, 0)
	for i, f := range m.funcs {
		n := b.Func("i32 -> i32", fmt.Sprintf("%dxi32", f.locals-1), texts(f.body)+"local.get 1")
		b.Export(fmt.Sprint("f", i), 0, n)
	}
	return b.Bytes()
}

// TestModel compares what random programs answer, and what they are charged,
// with the model.
func TestModel(t *testing.T) {
	var exact, charged float64
	ran := 0
	seeds := uint64(400)
	if raced {
		seeds /= 6
	}
	for seed := range seeds {
		m := &model{rnd: rand.New(rand.NewPCG(seed, 1))}
		m.funcs = make([]*modelFunc, 1+m.rnd.IntN(4))
		for i := range m.funcs {
			f := &modelFunc{locals: vars}
			m.funcs[i] = f
			f.body = m.gen(f, i, 0, []bool{true})
		}
		wasm := m.wasm()
		instrumented := mustInstrument(t, wasm)
		h := newHost(t)
		for _, slices := range []bool{false, true} {
			g, err := h.start(t, instrumented.Wasm, 0)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			m.mem = [256]byte{}
			for _, arg := range []int32{0, 1, 77, -5} {
				const fuel = 1 << 40
				m.cost, m.steps = 0, 20_000
				want := m.call(0, arg)
				if m.steps < 0 {
					break // it goes on for long; the memory is not as it would be
				}
				refills := h.refills
				if g.depth.Set(DefaultDepth); slices { // each grant is small
					g.fuel.Set(0)
					h.left = 0
					h.tiny = true
				} else {
					g.fuel.Set(fuel)
					h.tiny = false
				}
				stack := []uint64{uint64(uint32(arg))}
				h.granted = 0
				if err := g.mod.ExportedFunction("f0").CallWithStack(t.Context(), stack); err != nil {
					t.Fatalf("seed %d(%d): %v\n%s", seed, arg, err, texts(m.funcs[0].body))
				}
				mem, _ := g.mod.Memory().Read(0, 256)
				if int32(stack[0]) != want || string(mem) != string(m.mem[:]) {
					t.Fatalf("seed %d(%d): %d, want %d, or the memory differs\n%s", seed, arg, int32(stack[0]), want, texts(m.funcs[0].body))
				}
				if d := int32(g.depth.Get()); d != DefaultDepth {
					t.Fatalf("seed %d: the depth is %d when it is over", seed, d)
				}
				used := h.granted - int64(g.fuel.Get())
				if !slices {
					used += fuel
				}
				if used < m.cost {
					t.Fatalf("seed %d(%d): %d charged, %d executed\n%s", seed, arg, used, m.cost, texts(m.funcs[0].body))
				}
				if !slices {
					if used > 10*m.cost+100 {
						t.Errorf("seed %d(%d): %d charged, %d executed", seed, arg, used, m.cost)
					}
					exact, charged = exact+float64(m.cost), charged+float64(used)
				} else if m.cost > 100 && h.refills == refills {
					t.Fatalf("seed %d: no refill was asked for", seed)
				}
				ran++
			}
		}
		h.runtime.Close(t.Context())
	}
	t.Logf("%d runs; charged %.2f of what was executed", ran, charged/exact)
	if ran < int(seeds)*4 {
		t.Errorf("only %d programs ran to their end", ran)
	}
}
