package workflows_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/payload-manager/payload-manager/workflows"
)

// version is the release whose histories the tests record with
//
//	go test ./workflows -record
//
// Those of earlier releases are never recorded again: running lifecycles must
// survive an upgrade.
const version = "v0.1"

var recording = flag.Bool("record", false, "record the histories of this version")

func record(t *testing.T, name string, h *historypb.History) {
	t.Helper()
	if !*recording {
		return
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: " "}.Marshal(h)
	require.NoError(t, err)
	folder := filepath.Join("testdata", version)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, name+".json"), append(text, '\n'), 0o644))
}

func TestHistoriesOfEveryVersionReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			replayer := worker.NewWorkflowReplayer()
			workflows.Register(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(silent{}, file))
		})
	}
}

func TestHistoriesHoldNoPathsAndNoAddresses(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.json")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, secret := range []string{"/tmp", "/proc", "://", "127.0.0.1", "\"location"} {
			require.False(t, strings.Contains(string(text), secret), "%s holds %q", file, secret)
		}
	}
}

func contains(text, part string) bool { return strings.Contains(text, part) }
