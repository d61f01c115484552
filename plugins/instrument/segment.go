package instrument

// segment is code of which a part runs only if its first instruction runs, and at
// most once for each time that this does. What it costs is charged there.
type segment struct {
	parent int32  // the segment that leads to it, and runs at least as often; -1: none
	loop   bool   // head of a loop: runs more often than its parent
	own    uint32 // cost of its instructions
	extra  uint32 // of other segments that are charged with this one
}

func (s *segment) cost() uint32 { return s.own + s.extra }

// A segment that costs little is charged with its parent, whether it runs or not:
// a counter that is changed after each branch costs more than the code between.
// Fuel is overestimated by that, at most by half, or by extraFree.
const (
	extraOne  = 16 // the most that a segment may cost that is charged with its parent
	extraFree = 24 // what a parent may take without regard to its own cost
)

// checkOver is the cost above which a segment is compared with the counter even
// if it is no loop: else straight code could run on for long without fuel.
const checkOver = 2048

// merge charges small segments with their parents.
func merge(segs []segment) {
	for i := len(segs) - 1; i > 0; i-- {
		s := &segs[i]
		cost := s.cost()
		if s.loop || cost == 0 || cost > extraOne {
			continue
		}
		if p := &segs[s.parent]; p.extra+cost <= max(p.own, extraFree) {
			p.extra += cost
			s.own, s.extra = 0, 0
		}
	}
}

// loopFact is what is known of a loop when its code was read once.
type loopFact struct {
	calls  bool // something in it leaves the function
	nested bool // there is a loop in it
	params bool // it takes operands
}

// hot tells whether the loop is worth being kept free of calls: an engine keeps
// its variables in registers then.
func (l *loopFact) hot() bool { return !l.calls && !l.nested && !l.params }

// frame is a block that is open.
type frame struct {
	op     byte // opBlock, opLoop, opIf, opElse
	dead   bool // what precedes it cannot be reached
	twice  bool // a loop with another around it
	seg    int  // the segment that led to it
	level  int  // how many blocks of the result are around it
	exits  int  // the outermost frame that a branch in it goes to
	fact   int  // of a loop; -1: none
	stores int  // how many times locals were set before it
}
