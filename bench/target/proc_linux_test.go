package target

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestProcess(t *testing.T) {
	before, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); { // work, not sleep
	}
	after, err := cpu(os.Getpid())
	if err != nil || after <= before || after > time.Hour {
		t.Errorf("CPU went from %v to %v (%v)", before, after, err)
	}
	if n, err := rss(os.Getpid()); err != nil || n < 1<<20 || n > 1<<36 {
		t.Errorf("RSS %d bytes (%v)", n, err)
	}
	if busy, err := Busy(); err != nil || busy <= 0 {
		t.Errorf("the machine worked %v (%v)", busy, err)
	}
	if _, err := cpu(-1); err == nil {
		t.Error("no error for a process that cannot be")
	}
}

// What the server did not get rid of is in its send queue, found by the
// client's port.
func TestQueues(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Write(make([]byte, 64<<20)); err == nil {
		t.Fatal("the kernel took 64 MiB for a reader that does not read")
	}
	all, err := queues(uint16(l.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	if q := all[uint16(client.LocalAddr().(*net.TCPAddr).Port)]; q.Send == 0 || q.Send > 64<<20 {
		t.Errorf("send queue of %d bytes", q.Send)
	}
}

func TestParseQueue(t *testing.T) {
	all := make(map[uint16]Queue)
	for _, line := range []string{
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when",
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000005 00:00000000",
		"   1: 0100007F:1F90 0100007F:C001 01 00004000:00000010 01:00000014",
		"   2: 0100007F:C001 0100007F:1F90 01 00000007:00000000 01:00000014",
		"   3: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C002 01 0000000A:00000000 01:00000014",
		"   4: 0100007F:zz90 x y z", "",
	} {
		parseQueue(line, 8080, all)
	}
	if len(all) != 2 || all[0xc001] != (Queue{0x4000, 0x10}) || all[0xc002] != (Queue{Send: 10}) {
		t.Errorf("queues %+v", all)
	}
}

// A child started on one CPU stays there; the caller does not.
func TestAffinity(t *testing.T) {
	before, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "grep", "Cpus_allowed_list", "/proc/self/status")
	cmd.Stdout = &out
	last := before[len(before)-1]
	if err := on([]int{last}, cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, list, _ := strings.Cut(out.String(), ":"); strings.TrimSpace(list) != strconv.Itoa(last) {
		t.Errorf("the child may run on %q, want %d", list, last)
	}
	if after, err := Cores(); err != nil || len(after) != len(before) {
		t.Errorf("CPUs %v before, %v after (%v)", before, after, err)
	}
}
