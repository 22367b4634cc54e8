package leases_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/payload-manager/payload-manager/catalog/leases"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// journalOfChild names the environment variable that makes this test binary a
// process that leases until it is killed.
const journalOfChild = "LEASES_TEST_JOURNAL"

// leaseUntilKilled says every lease after it was granted, and until when it
// holds at least. Every third it releases before it says so.
func leaseUntilKilled(path string) error {
	table, err := leases.Open(leases.Journal{Path: path, BootID: boot}, leases.Boottime)
	if err != nil {
		return err
	}
	id, err := payload.NewID()
	if err != nil {
		return err
	}
	k := leases.Key{ID: id, Tier: payload.RAM, Attempt: 1}
	table.Open(k)
	for i := 0; ; i++ {
		until := leases.Boottime() + payload.MaxLease
		g, err := table.Grant(leases.Ask{Key: k, Holder: "a child", Duration: payload.MaxLease})
		if err != nil {
			return err
		}
		word := "holds"
		if i%3 == 0 {
			word = "ended"
			err = table.Release(g.ID)
		}
		if _, printed := fmt.Println(word, g.ID, int64(until)); err != nil || printed != nil {
			return err
		}
	}
}

func TestALeaseSurvivesTheKillOfItsProcess(t *testing.T) {
	const kills = 20
	path := filepath.Join(t.TempDir(), "leases.journal") // all children go on with one journal
	said := map[string]time.Duration{}
	for i := range kills {
		ended := runAndKill(t, path, 100*(i+1), said)
		table, err := leases.Open(leases.Journal{Path: path, BootID: boot}, leases.Boottime)
		require.NoError(t, err)
		for id, until := range said {
			g, err := table.Lookup(id)
			require.NoError(t, err)
			require.GreaterOrEqual(t, leases.Boottime()+g.Remaining, until)
		}
		for _, id := range ended {
			_, err := table.Lookup(id)
			require.ErrorIs(t, err, payload.Expired)
		}
		table.Stop()
	}
}

// runAndKill kills a child once it has said so many words, and notes all that
// it got out before it died.
func runAndKill(t *testing.T, path string, words int, said map[string]time.Duration) (ended []string) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), journalOfChild+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var word, id string
		var until int64
		_, err := fmt.Sscan(lines.Text(), &word, &id, &until) // a line is one write to a pipe: all or nothing
		require.NoError(t, err)
		if word == "holds" {
			said[id] = time.Duration(until)
		} else {
			ended = append(ended, id)
		}
		if n == words {
			require.NoError(t, child.Process.Kill())
		}
	}
	require.Error(t, child.Wait(), "it was killed")
	return ended
}
