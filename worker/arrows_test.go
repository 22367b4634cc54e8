package worker_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/payload-manager/payload-manager/"

// arrows is the architecture: which of our folders each folder may import.
// "anything" is everything but what stands above all. A new arrow is a line
// here, argued in its commit.
var arrows = map[string]string{
	"sdk/payload":           "",
	"sdk/contract":          "sdk/payload",
	"proto/payload/v1":      "",
	"sdk/access":            "sdk/payload proto/payload/v1",
	"sdk/access/cuda":       "sdk/payload proto/payload/v1 sdk/access",
	"sdk":                   "sdk/payload proto/payload/v1 sdk/access",
	"sdk/pipeline":          "sdk/payload sdk/contract",
	"sdk/pipeline/step":     "sdk sdk/access sdk/payload sdk/contract",
	"sdk/pipeline/examples": "sdk sdk/...",
	"sdk/payloadctl":        "sdk sdk/access sdk/payload",

	"catalog":             "sdk/payload",
	"catalog/memory":      "sdk/payload catalog",
	"catalog/batch":       "sdk/payload catalog",
	"catalog/rows":        "sdk/payload catalog",
	"catalog/sqlite":      "sdk/payload catalog catalog/batch catalog/rows",
	"catalog/postgres":    "sdk/payload catalog catalog/batch catalog/rows",
	"catalog/leases":      "sdk/payload catalog",
	"catalog/catalogtest": "sdk/payload catalog catalog/memory",

	"tiers":           "sdk/payload",
	"tiers/ram":       "sdk/payload tiers",
	"tiers/disk":      "sdk/payload tiers",
	"tiers/object":    "sdk/payload tiers",
	"tiers/gpu":       "sdk/payload tiers",
	"tiers/gpu/owner": "sdk/payload tiers",
	"tiers/tiertest":  "sdk/payload tiers sdk/access",
	"tiers/placement": "sdk/payload catalog catalog/leases tiers",

	"workflows":  "sdk/payload sdk/contract",
	"activities": "sdk/payload sdk/contract catalog tiers/placement",

	"worker/facade":          "sdk/payload proto/payload/v1 catalog catalog/leases tiers/placement",
	"worker/door":            "sdk/payload proto/payload/v1 catalog/leases tiers/placement",
	"worker/relay":           "sdk/payload sdk/contract catalog",
	"worker/vault":           "sdk/payload",
	"worker/config":          "sdk/payload",
	"worker/dev":             "worker/config deploy/servers",
	"worker":                 "anything",
	"worker/payload-manager": "worker worker/config worker/vault",

	"deploy/servers": "",
	"e2e":            "anything worker worker/config worker/dev",
	"e2e/demo":       "anything worker worker/config worker/dev e2e",
	"e2e/bench":      "anything worker worker/config worker/dev e2e",
}

// above stands over all: only folders that name it may import it, "anything"
// and tests do not mean it.
var above = []string{"worker", "worker/payload-manager", "e2e", "e2e/demo", "e2e/bench"}

// fences say which folders may bring a part of the world in. Others reach it
// through them or not at all.
var fences = map[string]string{
	"go.temporal.io/":             "workflows activities worker worker/relay sdk/pipeline sdk/pipeline/step sdk/pipeline/examples deploy/servers e2e e2e/demo e2e/bench",
	"github.com/minio/":           "tiers/object",
	"github.com/mattn/go-sqlite3": "catalog/sqlite",
	"github.com/jackc/pgx/":       "catalog/postgres deploy/servers",
	"github.com/pressly/goose/":   "catalog/sqlite catalog/postgres",
	"database/sql":                "catalog/sqlite catalog/postgres",
}

// light are the folders that a user's program links: neither they nor what they
// import of ours brings in Temporal, an S3 client or a database.
var (
	light = []string{"sdk", "sdk/payload", "sdk/access"}
	heavy = []string{"go.temporal.io/", "github.com/minio/", "github.com/mattn/go-sqlite3", "github.com/jackc/pgx/", "github.com/pressly/goose/", "database/sql", "C"}
)

// tops are the folders that the repository has. bin is what make builds.
var tops = strings.Fields("activities bin catalog deploy e2e proto sdk tiers worker workflows")

// vague are names that say nothing of what a folder is for.
var vague = strings.Fields("util utils common types models internal helpers misc")

// A source is what one file says to the architecture.
type source struct {
	path, folder string
	test         bool
	inits        bool // by hand
	imports      []string
}

func TestArrows(t *testing.T) {
	sources := readAll(t, "..")
	require.Greater(t, len(sources), 50, "the whole repository was read")
	require.Empty(t, complaints(sources))
	require.Empty(t, misnamed(folders(t, "..")))
}

// The test of the test: each bad arrow, planted alone, is found.
func TestABadArrowIsFound(t *testing.T) {
	planted := map[string]struct{ path, text, want string }{
		"upwards":        {"sdk/payload/a.go", `import _ "` + module + `catalog"`, "may not import catalog"},
		"sideways":       {"workflows/a.go", `import _ "` + module + `activities"`, "may not import activities"},
		"to the top":     {"activities/a.go", `import _ "` + module + `worker"`, "may not import worker"},
		"from a test up": {"catalog/a_test.go", `import _ "` + module + `e2e"`, "may not import e2e"},
		"new folder":     {"catalog/redis/a.go", ``, "has no line in the table of arrows"},
		"new top":        {"pkg/a.go", ``, "has no line in the table of arrows"},
		"fence":          {"catalog/a.go", `import _ "go.temporal.io/sdk/client"`, "may not bring in go.temporal.io/sdk/client"},
		"cgo in the sdk": {"sdk/access/a.go", `import "C"`, "sdk/access brings in C"},
		"by the way":     {"proto/payload/v1/a.go", `import _ "database/sql"`, "sdk brings in database/sql"},
		"init":           {"tiers/a.go", `func init() {}`, "has an init"},
	}
	for why, bad := range planted {
		t.Run(why, func(t *testing.T) {
			sources := append(readAll(t, ".."), read(t, bad.path, "package a\n"+bad.text))
			require.Contains(t, strings.Join(complaints(sources), "\n"), bad.want)
		})
	}
	generated := read(t, "tiers/a.go", "// Code generated by hand. DO NOT EDIT.\n\npackage a\nfunc init() {}")
	require.Empty(t, complaints([]source{generated}), "generated code may")
	require.NotEmpty(t, misnamed([]string{"catalog/util"}))
	require.NotEmpty(t, misnamed([]string{"pkg"}))
}

func complaints(sources []source) (found []string) {
	for _, s := range sources {
		if _, known := arrows[s.folder]; !known {
			found = append(found, s.path+": "+s.folder+" has no line in the table of arrows")
			continue
		}
		if s.inits {
			found = append(found, s.path+" has an init: let a constructor do it")
		}
		for _, imported := range s.imports {
			found = append(found, s.judge(imported)...)
		}
	}
	return append(found, burdens(sources)...)
}

// judge holds one import against the arrows and the fences.
func (s source) judge(imported string) (found []string) {
	if folder, ours := strings.CutPrefix(imported, module); ours {
		if folder != s.folder && !s.allowed(folder) {
			found = append(found, fmt.Sprintf("%s: %s may not import %s", s.path, s.folder, folder))
		}
		return found
	}
	for fenced, who := range fences {
		if within(imported, fenced) && !s.test && !slices.Contains(strings.Fields(who), s.folder) {
			found = append(found, fmt.Sprintf("%s: %s may not bring in %s", s.path, s.folder, imported))
		}
	}
	return found
}

// allowed reports whether the arrow is in the table. A test may use whatever
// real parts it needs, but none of what stands above all.
func (s source) allowed(folder string) bool {
	allowed := strings.Fields(arrows[s.folder])
	if s.test {
		allowed = append(allowed, "anything")
	}
	for _, entry := range allowed {
		wildcard, isWildcard := strings.CutSuffix(entry, "...")
		switch {
		case entry == folder, isWildcard && strings.HasPrefix(folder, wildcard):
			return true
		case entry == "anything" && !slices.Contains(above, folder):
			return true
		}
	}
	return false
}

// within reports whether an import path is the fenced one or below it.
func within(imported, fenced string) bool {
	return imported == fenced || strings.HasPrefix(imported, strings.TrimSuffix(fenced, "/")+"/")
}

// burdens are the heavy parts that light folders bring in, by whatever way.
func burdens(sources []source) (found []string) {
	imports := map[string][]string{}
	for _, s := range sources {
		if !s.test {
			imports[s.folder] = append(imports[s.folder], s.imports...)
		}
	}
	for _, folder := range light {
		for imported := range reached(imports, folder) {
			if slices.ContainsFunc(heavy, func(part string) bool { return within(imported, part) }) {
				found = append(found, folder+" brings in "+imported)
			}
		}
	}
	return found
}

// reached is everything that a folder imports, through our folders.
func reached(imports map[string][]string, folder string) map[string]bool {
	seen, next := map[string]bool{}, []string{folder}
	for len(next) > 0 {
		at := next[0]
		next = next[1:]
		for _, imported := range imports[at] {
			if seen[imported] {
				continue
			}
			seen[imported] = true
			if ours, is := strings.CutPrefix(imported, module); is {
				next = append(next, ours)
			}
		}
	}
	return seen
}

// misnamed are folders whose name says nothing, or that stand at the top and
// should not.
func misnamed(folders []string) (found []string) {
	for _, folder := range folders {
		if slices.Contains(vague, path.Base(folder)) {
			found = append(found, folder+": name it for what is in it")
		}
		if top, _, _ := strings.Cut(folder, "/"); !slices.Contains(tops, top) {
			found = append(found, folder+": the top has a folder that the design lacks")
		}
	}
	return found
}

// walk visits what belongs to the repository's own module: no hidden folders,
// nothing that was built, no module of a tool.
func walk(t *testing.T, root string, visit func(name string, entry fs.DirEntry)) {
	t.Helper()
	skipped := []string{"bin", "deploy/tools"}
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil || name == "." {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules" || entry.Name() == "__pycache__"
		if entry.IsDir() && (hidden || slices.Contains(skipped, name) || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		visit(filepath.ToSlash(name), entry)
		return nil
	}))
}

func folders(t *testing.T, root string) (found []string) {
	walk(t, root, func(name string, entry fs.DirEntry) {
		if entry.IsDir() {
			found = append(found, name)
		}
	})
	return found
}

// readAll parses every Go file, whatever its build tags: a list of packages as
// one machine would build them leaves arrows out, and is cached besides.
func readAll(t *testing.T, root string) (sources []source) {
	walk(t, root, func(name string, entry fs.DirEntry) {
		if !entry.IsDir() && strings.HasSuffix(name, ".go") {
			text, err := os.ReadFile(filepath.Join(root, name))
			require.NoError(t, err)
			sources = append(sources, read(t, name, string(text)))
		}
	})
	return sources
}

func read(t *testing.T, name, text string) source {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	s := source{path: name, folder: path.Dir(name), test: strings.HasSuffix(name, "_test.go")}
	seen := map[string]bool{}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		seen[imported] = true
	}
	s.imports = slices.Sorted(maps.Keys(seen))
	s.inits = !ast.IsGenerated(file) && slices.ContainsFunc(file.Decls, isInit)
	return s
}

func isInit(d ast.Decl) bool {
	function, is := d.(*ast.FuncDecl)
	return is && function.Recv == nil && function.Name.Name == "init"
}
