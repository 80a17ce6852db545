package admissionregistration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	arv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// expressions are those that the stored object has: they were accepted once
// and stay acceptable.
type expressions map[string]bool

func (e expressions) keep(conditions []arv1.MatchCondition) {
	for _, c := range conditions {
		e.add(c.Expression)
	}
}

func (e expressions) add(text string) { e[strings.TrimSpace(text)] = true }

func (e expressions) mode(text string) environment.Type {
	if e[strings.TrimSpace(text)] {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// stateless compiles expressions that know no variables. Making it costs some
// milliseconds, so it is made once, when the first expression comes.
var stateless = sync.OnceValue(func() plugincel.Compiler {
	return plugincel.NewCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
})

// compile notes what is wrong with an expression.
func compile(l *check.List, c plugincel.Compiler, e plugincel.ExpressionAccessor, v plugincel.OptionalVariableDeclarations, stored expressions, path *field.Path) {
	if r := c.CompileCELExpression(e, v, stored.mode(e.GetExpression())); r.Error != nil {
		l.Uncompilable(path, e.GetExpression(), r.Error)
	}
}

// conditions checks what a webhook or policy asks before it is called.
func conditions(l *check.List, list []arv1.MatchCondition, stored expressions, params bool, path *field.Path) {
	const most = 64
	if len(list) > most {
		l.Add(field.TooMany(path, len(list), most))
	}
	names := sets.New[string]()
	for i, c := range list {
		at := path.Index(i)
		if text := strings.TrimSpace(c.Expression); text == "" {
			l.Required(at.Child("expression"), "")
		} else {
			compile(l, stateless(), &matchconditions.MatchCondition{Expression: text},
				plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}, stored, at.Child("expression"))
		}
		if c.Name == "" {
			l.Required(at.Child("name"), "")
			continue
		}
		l.QualifiedName(at.Child("name"), c.Name)
		if names.Has(c.Name) {
			l.Duplicate(at.Child("name"), c.Name)
		}
		names.Insert(c.Name)
	}
}

// program compiles the expressions of one policy, which share its variables.
type program struct {
	plugincel.Compiler
	composed *plugincel.CompositedCompiler // nil without variables
	stored   expressions
	params   bool
}

func newProgram(variables, params bool, stored expressions) (program, error) {
	p := program{stored: stored, params: params}
	if !variables {
		p.Compiler = stateless()
		return p, nil
	}
	var err error
	p.composed, err = plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return program{}, fmt.Errorf("prepare the compiler of expressions: %w", err)
	}
	p.Compiler = p.composed
	return p, nil
}

// required checks an expression that must be there; missing is said if it is not.
func (p program) required(l *check.List, missing string, e plugincel.ExpressionAccessor, vars plugincel.OptionalVariableDeclarations, path *field.Path) {
	if strings.TrimSpace(e.GetExpression()) == "" {
		l.Required(path, missing)
		return
	}
	compile(l, p, e, vars, p.stored, path)
}

func (p program) variables(l *check.List, list []arv1.Variable, path *field.Path) {
	for i := range list {
		v, at := &list[i], path.Index(i)
		switch {
		case strings.TrimSpace(v.Name) == "":
			l.Required(at.Child("name"), "name is not specified")
		case !isIdentifier(v.Name):
			l.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier")
		}
		if strings.TrimSpace(v.Expression) == "" {
			l.Required(at.Child("expression"), "expression is not specified")
			continue
		}
		result := p.composed.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression},
			plugincel.OptionalVariableDeclarations{HasParams: p.params, HasAuthorizer: true}, p.stored.mode(v.Expression))
		if result.Error != nil {
			l.Uncompilable(at.Child("expression"), v.Expression, result.Error)
		}
	}
}

var identifier = regexp.MustCompile("^[_a-zA-Z][_a-zA-Z0-9]*$")

// isIdentifier tells names that the language has no other use for.
func isIdentifier(name string) bool {
	return identifier.MatchString(name) && !slices.Contains([]string{
		"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
		"loop", "package", "namespace", "return", "var", "void", "while",
	}, name)
}
