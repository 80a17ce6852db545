package tree

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sinawi/sinawi"

// goPackage is one directory with Go files, test files apart.
type goPackage struct {
	dir   string // slash-separated, relative to the module's root
	name  string
	files []goFile
	tests []goFile
}

type goFile struct {
	path    string
	lines   int
	syntax  *ast.File
	imports []string
}

func (p goPackage) lines() int {
	n := 0
	for _, f := range p.files {
		if !ast.IsGenerated(f.syntax) {
			n += f.lines
		}
	}
	return n
}

func load(t *testing.T) ([]goPackage, *token.FileSet) {
	t.Helper()
	root := filepath.Join("..", "..")
	fset := token.NewFileSet()
	byDir := map[string]*goPackage{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || name == "node_modules" || (strings.HasPrefix(name, ".") && p != root) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		return addFile(fset, byDir, root, p)
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []goPackage
	for _, p := range byDir {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b goPackage) int { return strings.Compare(a.dir, b.dir) })
	if len(out) < 10 {
		t.Fatalf("found %d packages below %s: the walk is broken", len(out), root)
	}
	return out, fset
}

func addFile(fset *token.FileSet, byDir map[string]*goPackage, root, p string) error {
	data, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(fset, p, data, parser.ParseComments)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	f := goFile{path: rel, lines: strings.Count(string(data), "\n"), syntax: syntax}
	for _, imp := range syntax.Imports {
		f.imports = append(f.imports, strings.Trim(imp.Path.Value, `"`))
	}
	dir := path.Dir(rel)
	pkg := byDir[dir]
	if pkg == nil {
		pkg = &goPackage{dir: dir}
		byDir[dir] = pkg
	}
	if strings.HasSuffix(rel, "_test.go") {
		pkg.tests = append(pkg.tests, f)
	} else {
		pkg.files = append(pkg.files, f)
		pkg.name = syntax.Name.Name
	}
	return nil
}

// leaves are the packages that components may share; a leaf imports no component.
var leaves = []string{"client", "store", "pki", "runtime", "volumes", "podnet", "version", "instance", "mailbox", "quota", "podrefs"}

// components meet only through API objects.
var components = []string{"apiserver", "scheduler", "controllers", "agent", "proxy", "dns", "gateway", "observe", "deliver", "edge", "dashboard"}

// owner returns the first folder below internal/ of a package path, or "".
func owner(dir string) string {
	rest, ok := strings.CutPrefix(dir, "internal/")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(rest, "/")
	return first
}

func TestImportsFlowOneWay(t *testing.T) {
	pkgs, _ := load(t)
	for _, p := range pkgs {
		for _, f := range p.files {
			for _, imp := range f.imports {
				if why := forbidden(p.dir, imp); why != "" {
					t.Errorf("%s imports %s: %s", f.path, imp, why)
				}
			}
		}
	}
}

// forbidden says why the package in dir must not import imp, or "".
func forbidden(dir, imp string) string {
	if strings.HasPrefix(imp, "k8s.io/kubernetes") {
		return "k8s.io/kubernetes is never imported; its behaviour is the specification, its code is not a library"
	}
	target, ours := strings.CutPrefix(imp, module+"/")
	if !ours {
		return ""
	}
	from, to := owner(dir), owner(target)
	testing := strings.HasPrefix(dir, "test/") || strings.HasPrefix(dir, "lab")
	switch {
	case to == "cluster" && from != "cluster" && from != "cli" && !strings.HasPrefix(dir, "cmd/") && !testing:
		return "only commands import the composition root"
	case slices.Contains(leaves, from) && to != "" && !slices.Contains(leaves, to) && to != from:
		return fmt.Sprintf("%s is a leaf and imports leaves only", from)
	case slices.Contains(components, from) && slices.Contains(components, to) && from != to:
		return fmt.Sprintf("the components %s and %s meet only through API objects", from, to)
	case slices.Contains(components, from) && (to == "cli" || to == "cluster"):
		return "components do not know who starts them"
	case (strings.HasPrefix(target, "test/") && !strings.HasPrefix(dir+"/", path.Dir(target)+"/")) || (strings.HasPrefix(target, "lab") && !testing):
		return "only tests import the lab and black box tests"
	}
	return ""
}

func TestForbidden(t *testing.T) {
	for _, tt := range []struct {
		dir, imp string
		refused  bool
	}{
		{"internal/scheduler", module + "/internal/apiserver", true},
		{"internal/scheduler", module + "/internal/client", false},
		{"internal/controllers/job", module + "/internal/controllers/loop", false},
		{"internal/controllers/job", module + "/internal/agent", true},
		{"internal/pki", module + "/internal/agent", true},
		{"internal/agent", module + "/internal/volumes", false},
		{"internal/agent", module + "/internal/cluster", true},
		{"cmd/sinawi", module + "/internal/cluster", false},
		{"internal/dns", module + "/test/node", true},
		{"test/bench", module + "/test/bench/api", false},
		{"test/bench/scale", module + "/test/bench/figures", false},
		{"cmd/sinawi", module + "/test/bench/figures", true},
		{"internal/dns", "k8s.io/kubernetes/pkg/apis/core", true},
		{"internal/dns", "k8s.io/api/core/v1", false},
	} {
		if got := forbidden(tt.dir, tt.imp); (got != "") != tt.refused {
			t.Errorf("forbidden(%s, %s) = %q, want refused %v", tt.dir, tt.imp, got, tt.refused)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	pkgs, _ := load(t)
	for _, p := range pkgs {
		if len(p.files) == 0 {
			continue
		}
		var docs []string
		for _, f := range p.files {
			if f.syntax.Doc != nil {
				docs = append(docs, f.path)
			}
		}
		if len(docs) != 1 {
			t.Errorf("package %s has %d package comments (%s), want exactly one", p.dir, len(docs), strings.Join(docs, ", "))
		}
	}
}

func TestNoDrawerPackages(t *testing.T) {
	drawers := []string{"util", "utils", "common", "helpers", "misc", "types", "models", "structs", "shared", "base"}
	pkgs, _ := load(t)
	for _, p := range pkgs {
		if slices.Contains(drawers, path.Base(p.dir)) || slices.Contains(drawers, p.name) {
			t.Errorf("package %s is named after nothing it does; name it for what it owns", p.dir)
		}
	}
}

const (
	maxFileLines     = 600
	maxFunctionLines = 70
	maxPackageLines  = 4000
)

// excused lists what may pass a limit, with the reason.
var excused = map[string]string{
	// Importing it is what it is for: it must run before main, in the helper only.
	"internal/runtime/containerinit/containerinit.go:init": "first process of a container",
}

func TestSizes(t *testing.T) {
	pkgs, fset := load(t)
	for _, p := range pkgs {
		if n := p.lines(); n > maxPackageLines && excused[p.dir] == "" {
			t.Errorf("package %s has %d lines, the limit is %d: split it by what its parts own", p.dir, n, maxPackageLines)
		}
		for _, f := range p.files {
			if ast.IsGenerated(f.syntax) {
				continue
			}
			if f.lines > maxFileLines && excused[f.path] == "" {
				t.Errorf("%s has %d lines, the limit is %d", f.path, f.lines, maxFileLines)
			}
			checkFunctions(t, fset, f)
		}
	}
}

func checkFunctions(t *testing.T, fset *token.FileSet, f goFile) {
	t.Helper()
	for _, decl := range f.syntax.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
		if n > maxFunctionLines && !isTable(fn) && excused[f.path+":"+fn.Name.Name] == "" {
			t.Errorf("%s: %s has %d lines, the limit is %d", fset.Position(fn.Pos()), fn.Name.Name, n, maxFunctionLines)
		}
	}
}

// isTable reports whether a function's body is data: one return statement.
func isTable(fn *ast.FuncDecl) bool {
	if len(fn.Body.List) != 1 {
		return false
	}
	_, ok := fn.Body.List[0].(*ast.ReturnStmt)
	return ok
}

func TestNoInitFunctions(t *testing.T) {
	pkgs, fset := load(t)
	for _, p := range pkgs {
		for _, f := range p.files {
			for _, decl := range f.syntax.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && !ast.IsGenerated(f.syntax) && excused[f.path+":init"] == "" {
					t.Errorf("%s: init functions cost every role that does not need them; call it from where it is needed", fset.Position(fn.Pos()))
				}
			}
		}
	}
}

func TestNoReplaceDirective(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") {
			t.Errorf("go.mod: %q: what others build from must not depend on a replacement", strings.TrimSpace(line))
		}
	}
}
