// Style and the direction of imports. The direction is the architecture: it is checked, not remembered.
import tseslint from 'typescript-eslint';

/** Forbids imports of the named folders of src/ for the files of one folder. */
function mayNotImport(folder, forbidden, reason) {
  return {
    files: [`src/${folder}/**/*.ts`],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: forbidden.map((name) => ({
            regex:
              name.startsWith('@') || name.startsWith('node:')
                ? `^${name}`
                : `(^|/)\\.\\./(.*/)?${name}/`,
            message: reason,
          })),
        },
      ],
    },
  };
}

const clusterSide = ['kube', 'controller', 'server', 'history', 'cli'];

export default tseslint.config(
  { ignores: ['node_modules/', 'dist/', '.cache/', 'charts/', 'manifests/', '**/*.mjs'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      // Recurses without end on recursive types that differ in readonly, such as a parsed TOML table.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'error',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { ignoreRestSiblings: true, argsIgnorePattern: '^_' },
      ],
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'Use named exports.' },
        { selector: 'TSEnumDeclaration', message: 'Use a union of string literals.' },
      ],
      eqeqeq: 'error',
    },
  },
  mayNotImport(
    'crds',
    [...clusterSide, 'node', 'kata'],
    'The schemas know nothing of who uses them.',
  ),
  mayNotImport(
    'kata',
    [...clusterSide, 'node', 'node:', '@kubernetes/'],
    'src/kata is pure knowledge: no I/O.',
  ),
  mayNotImport(
    'kube',
    ['controller', 'node', 'kata', 'crds', 'server', 'history', 'cli'],
    'The kube layer serves the controller and knows nothing of Kata.',
  ),
  mayNotImport(
    'node',
    [...clusterSide, '@kubernetes/', 'undici'],
    'A node never talks to the API server.',
  ),
  mayNotImport(
    'controller',
    ['node', 'server', 'history', 'cli'],
    'The controller never runs node code.',
  ),
  {
    // Two screens a file and one a function are the aim; what is beyond this has more than one thing in it.
    files: ['src/**/*.ts'],
    rules: { 'max-lines': ['error', { max: 250, skipBlankLines: true, skipComments: true }] },
  },
  {
    // The function that is left out holds the text of one shell script.
    files: ['src/**/*.ts'],
    ignores: ['src/node/engine/guard/script.ts'],
    rules: {
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    // decide is a pure function: what it sees comes in, what it wants goes out.
    files: ['src/controller/**/decide*.ts'],
    rules: {
      'no-restricted-globals': [
        'error',
        'setTimeout',
        'setInterval',
        'fetch',
        'process',
        'performance',
      ],
      'no-restricted-properties': ['error', { object: 'Date', property: 'now' }],
      'no-restricted-syntax': [
        'error',
        { selector: 'AwaitExpression', message: 'decide is pure and synchronous.' },
        {
          selector: 'NewExpression[callee.name="Date"][arguments.length=0]',
          message: 'Time is an argument.',
        },
      ],
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex: '(^|/)kube/|^node:(?!util)|^@kubernetes/|^undici',
              message: 'decide does no I/O.',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['eslint.config.js', '*.config.ts'],
    rules: { 'no-restricted-syntax': 'off' },
  },
);
