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
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

const module = "github.com/payload-manager/payload-manager"

// arrows is the architecture: which folders of ours a folder's product code may
// import. "x/..." is x and all below it. A folder without a line is refused: a
// new one is a line here, argued in its commit.
var arrows = map[string][]string{
	"sdk/payload":           nil,
	"sdk/contract":          {"sdk/payload"},
	"proto/payload/v1":      nil,
	"sdk/access":            {"sdk/payload", "proto/payload/v1"},
	"sdk/access/cuda":       {"sdk/payload", "proto/payload/v1", "sdk/access"},
	"sdk":                   {"sdk/payload", "proto/payload/v1", "sdk/access"},
	"sdk/pipeline":          {"sdk/payload", "sdk/contract"},
	"sdk/pipeline/step":     {"sdk", "sdk/access", "sdk/payload", "sdk/contract"},
	"sdk/pipeline/examples": {"sdk/..."},
	"sdk/payloadctl":        {"sdk", "sdk/access", "sdk/payload"},

	"catalog":             {"sdk/payload"},
	"catalog/memory":      {"sdk/payload", "catalog"},
	"catalog/sqlite":      {"sdk/payload", "catalog", "catalog/batch", "catalog/rows"},
	"catalog/postgres":    {"sdk/payload", "catalog", "catalog/batch", "catalog/rows"},
	"catalog/batch":       {"sdk/payload", "catalog"}, // callers who share a commit, in either database
	"catalog/rows":        {"sdk/payload", "catalog"}, // the columns that both databases have
	"catalog/leases":      {"sdk/payload", "catalog"},
	"catalog/catalogtest": {"sdk/payload", "catalog", "catalog/memory"},

	"tiers":           {"sdk/payload"},
	"tiers/ram":       {"sdk/payload", "tiers"},
	"tiers/disk":      {"sdk/payload", "tiers"},
	"tiers/object":    {"sdk/payload", "tiers"},
	"tiers/gpu":       {"sdk/payload", "tiers"},
	"tiers/gpu/owner": {"sdk/payload", "tiers"},
	"tiers/tiertest":  {"sdk/payload", "tiers", "sdk/access"},
	"tiers/placement": {"sdk/payload", "catalog", "catalog/leases", "tiers"},

	"workflows":  {"sdk/payload", "sdk/contract"},
	"activities": {"sdk/payload", "sdk/contract", "catalog", "tiers/placement"},

	"worker":                 {"sdk/...", "proto/...", "catalog/...", "tiers/...", "workflows", "activities", "worker/...", "deploy/servers"},
	"worker/facade":          {"sdk/payload", "proto/payload/v1", "catalog", "catalog/leases", "tiers/placement"},
	"worker/door":            {"sdk/payload", "proto/payload/v1", "catalog/leases", "tiers/placement"},
	"worker/relay":           {"sdk/payload", "sdk/contract", "catalog"},
	"worker/vault":           {"sdk/payload"},
	"worker/config":          {"sdk/payload"},
	"worker/dev":             {"worker/config", "deploy/servers"}, // the servers that the configuration leaves open
	"worker/payload-manager": {"worker", "worker/config"},

	"deploy/servers": nil, // starts the servers of others
	"e2e/...":        {"..."},
}

// suites are for tests; product code never imports them, e2e aside.
var suites = []string{"catalog/catalogtest", "tiers/tiertest"}

// testArrows are what a test may import beside its folder's own arrows: the
// suites and the real parts, so that no fake is needed. Not the daemon: what
// needs all of it is e2e.
var testArrows = []string{"sdk/...", "proto/...", "catalog/...", "tiers/...", "workflows", "activities", "deploy/servers"}

// outside are the things of others that stay in their folders.
var outside = map[string][]string{
	"go.temporal.io":              {"sdk/pipeline/...", "workflows", "activities", "worker", "worker/relay", "deploy/servers", "e2e/..."},
	"google.golang.org/protobuf":  {"proto/...", "sdk", "sdk/access", "worker/facade", "worker/door", "deploy/servers", "e2e/..."},
	"google.golang.org/grpc":      {"proto/...", "sdk", "worker", "worker/facade", "worker/door", "worker/relay", "deploy/servers", "e2e/..."},
	"github.com/minio":            {"tiers/object", "deploy/servers", "e2e/..."},
	"github.com/jackc":            {"catalog/postgres", "deploy/servers"},
	"github.com/mattn/go-sqlite3": {"catalog/sqlite"},
	"github.com/pressly/goose":    {"catalog/postgres", "catalog/sqlite"},
	"database/sql":                {"catalog/postgres", "catalog/sqlite", "catalog/rows", "catalog/batch"},
	"C":                           {"tiers/gpu/..."},
}

// light are the packages that everybody's programs link: nothing that they
// import, at any distance, may pull heavy.
var (
	light = []string{"sdk", "sdk/payload", "sdk/access"}
	heavy = []string{"go.temporal.io", "github.com/minio", "github.com/jackc", "github.com/mattn/go-sqlite3", "github.com/pressly/goose", "database/sql", "C"}
)

var (
	topFolders = []string{"activities", "bin", "catalog", "deploy", "e2e", "proto", "sdk", "tiers", "worker", "workflows"}
	namesOfNo  = []string{"util", "utils", "common", "types", "models", "internal", "helpers", "misc"}
)

func TestArrows(t *testing.T) {
	require.Empty(t, complaints(t, os.DirFS("..")))
}

// A rule that cannot fail proves nothing.
func TestArrowsFailWhereTheyShould(t *testing.T) {
	for _, test := range []struct{ file, content, want string }{
		{"catalog/x.go", ours("tiers"), "catalog may not import tiers"},
		{"workflows/x.go", ours("activities"), "workflows may not import activities"},
		{"worker/facade/x.go", ours("worker"), "worker/facade may not import worker"},
		{"worker/x.go", ours("e2e"), "worker may not import e2e"},
		{"worker/x.go", ours("tiers/tiertest"), "worker may not import tiers/tiertest: a suite is for tests"},
		{"deploy/servers/x.go", ours("sdk/payload"), "deploy/servers may not import sdk/payload"},
		{"tiers/x_test.go", ours("worker/facade"), "a test of tiers may not import worker/facade"},
		{"catalog/x.go", imports("go.temporal.io/sdk/client"), "catalog may not import go.temporal.io/sdk/client"},
		{"tiers/disk/x.go", imports("C"), "tiers/disk may not import C"},
		{"catalog/x.go", "//go:build never\n\n" + ours("worker"), "catalog may not import worker"},
		{"tiers/tape/x.go", "package tape", "tiers/tape has no line in the table of arrows"},
		{"tiers/util/x.go", "package util", "tiers/util: a folder is named for its subject"},
		{"docs/x.txt", "", "docs: no such top-level folder"},
		{"tiers/x.go", "package tiers\nfunc init() {}", "tiers/x.go: no init"},
		{"x.go", "package root", "x.go: no Go file in the root"},
	} {
		got := complaints(t, fstest.MapFS{test.file: {Data: []byte(test.content)}})
		require.Contains(t, strings.Join(got, "\n"), test.want)
	}
}

func TestTheClientStaysLightAtAnyDistance(t *testing.T) {
	got := complaints(t, fstest.MapFS{
		"sdk/x.go":         {Data: []byte(ours("sdk/access"))},
		"sdk/access/x.go":  {Data: []byte(ours("sdk/payload"))},
		"sdk/payload/x.go": {Data: []byte(imports("github.com/minio/minio-go/v7"))},
	})
	require.Contains(t, got, "sdk pulls github.com/minio/minio-go/v7 through sdk/payload")
}

func TestArrowsLeaveAloneWhatIsRight(t *testing.T) {
	require.Empty(t, complaints(t, fstest.MapFS{
		"catalog/x.go":            {Data: []byte(ours("sdk/payload"))},
		"catalog/x_test.go":       {Data: []byte(ours("catalog/catalogtest"))},
		"worker/x.go":             {Data: []byte(ours("tiers/ram"))},
		"worker/facade/x_test.go": {Data: []byte(ours("worker/door"))},
		"e2e/demo/x.go":           {Data: []byte(ours("worker"))},
		"proto/payload/v1/x.go":   {Data: []byte("// Code generated by a tool. DO NOT EDIT.\n\npackage payloadv1\nfunc init() {}")},
		"deploy/tools/t/go.mod":   {Data: []byte("module tool")},
		"deploy/tools/t/x.go":     {Data: []byte(imports("go.temporal.io/server"))},
		"sdk/testdata/x.go":       {Data: []byte("no Go")},
		".dev/x.go":               {Data: []byte("no Go")},
		"bin/x.go":                {Data: []byte("no Go")},
	}))
}

func ours(folder string) string { return imports(module + "/" + folder) }

func imports(name string) string { return "package x\n\nimport _ " + strconv.Quote(name) + "\n" }

// A source is one Go file as far as the rules care.
type source struct {
	file, folder string
	test         bool
	imports      []string // folders of ours without the module's path, and packages of others
	inits        bool     // it has an init function that nobody generated
}

// complaints says what is wrong with the tree, each once and in order.
func complaints(t *testing.T, tree fs.FS) []string {
	sources, found := survey(t, tree)
	for _, s := range sources {
		found = append(found, s.complaints()...)
	}
	found = append(found, heavyImports(sources)...)
	slices.Sort(found)
	return slices.Compact(found)
}

// survey reads every Go file of this module, whatever its build tags, and
// complains of folders.
func survey(t *testing.T, tree fs.FS) (sources []source, found []string) {
	require.NoError(t, fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && skipped(tree, name):
			return fs.SkipDir
		case entry.IsDir():
			found = append(found, folderComplaints(name)...)
		case path.Ext(name) == ".go":
			sources = append(sources, parse(t, tree, name))
		}
		return nil
	}))
	return sources, found
}

// skipped are folders that are no part of the module's code.
func skipped(tree fs.FS, folder string) bool {
	if folder == "." {
		return false
	}
	_, err := fs.Stat(tree, path.Join(folder, "go.mod"))
	base := path.Base(folder)
	return err == nil || folder == "bin" || base == "testdata" || base == "node_modules" || strings.HasPrefix(base, ".")
}

func folderComplaints(folder string) (found []string) {
	if folder != "." && !strings.Contains(folder, "/") && !slices.Contains(topFolders, folder) {
		found = append(found, folder+": no such top-level folder")
	}
	if slices.Contains(namesOfNo, path.Base(folder)) {
		found = append(found, folder+": a folder is named for its subject")
	}
	return found
}

func parse(t *testing.T, tree fs.FS, name string) source {
	content, err := fs.ReadFile(tree, name)
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), name, content, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	s := source{file: name, folder: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), inits: hasInit(file) && !ast.IsGenerated(file)}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		s.imports = append(s.imports, imported)
	}
	return s
}

func hasInit(file *ast.File) bool {
	return slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && f.Recv == nil && f.Name.Name == "init"
	})
}

func (s source) complaints() (found []string) {
	if s.inits {
		found = append(found, s.file+": no init: what happens at start is said in worker")
	}
	if s.folder == "." {
		return append(found, s.file+": no Go file in the root")
	}
	allowed, known := lineOf(s.folder)
	if !known {
		return append(found, s.folder+" has no line in the table of arrows")
	}
	for _, imported := range s.imports {
		if reason := s.refuses(imported, allowed); reason != "" {
			found = append(found, fmt.Sprintf("%s may not import %s%s", s.who(), strings.TrimPrefix(imported, module+"/"), reason))
		}
	}
	return found
}

func (s source) who() string {
	if s.test {
		return "a test of " + s.folder
	}
	return s.folder
}

// refuses says why s may not import a package, or nothing.
func (s source) refuses(imported string, allowed []string) string {
	folder, own := strings.CutPrefix(imported, module+"/")
	inE2E := within("e2e/...", s.folder)
	switch {
	case !own && s.test:
		return ""
	case !own:
		return refusesOutside(s.folder, imported)
	case s.test && (folder == s.folder || s.testMay(folder)):
		return ""
	case !s.test && !inE2E && slices.Contains(suites, folder):
		return ": a suite is for tests"
	case withinAny(allowed, folder) && (inE2E || !within("e2e/...", folder)):
		return ""
	default:
		return ": the table of arrows has no such arrow"
	}
}

// testMay reports whether a test in s's folder may import folder beside the
// folder's own arrows. Tests inside the daemon may use its other parts.
func (s source) testMay(folder string) bool {
	inWorker := within("worker/...", s.folder) && within("worker/...", folder)
	return inWorker || withinAny(testArrows, folder)
}

func refusesOutside(folder, imported string) string {
	for prefix, homes := range outside {
		if within(prefix+"/...", imported) && !withinAny(homes, folder) {
			return fmt.Sprintf(": %s stays in %s", prefix, strings.Join(homes, ", "))
		}
	}
	return ""
}

// heavyImports follows the product imports of the light packages to their end.
func heavyImports(sources []source) (found []string) {
	direct := make(map[string][]string)
	for _, s := range sources {
		if !s.test {
			direct[s.folder] = append(direct[s.folder], s.imports...)
		}
	}
	for _, from := range light {
		for _, folder := range reached(direct, from) {
			for _, imported := range direct[folder] {
				if slices.ContainsFunc(heavy, func(h string) bool { return within(h+"/...", imported) }) {
					found = append(found, fmt.Sprintf("%s pulls %s through %s", from, imported, folder))
				}
			}
		}
	}
	return found
}

// reached lists from and every folder of ours that it imports, at any distance.
func reached(direct map[string][]string, from string) []string {
	seen := map[string]bool{from: true}
	for rest := []string{from}; len(rest) > 0; rest = rest[1:] {
		for _, imported := range direct[rest[0]] {
			if folder, own := strings.CutPrefix(imported, module+"/"); own && !seen[folder] {
				seen[folder] = true
				rest = append(rest, folder)
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// lineOf finds the folder's line in the table.
func lineOf(folder string) (allowed []string, known bool) {
	for line, allowed := range arrows {
		if within(line, folder) {
			return allowed, true
		}
	}
	return nil, false
}

func withinAny(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return within(p, folder) })
}

// within reports whether folder is the pattern, or below one that ends in "/...".
func within(pattern, folder string) bool {
	above, tree := strings.CutSuffix(pattern, "/...")
	return pattern == "..." || folder == above || tree && strings.HasPrefix(folder, above+"/")
}
